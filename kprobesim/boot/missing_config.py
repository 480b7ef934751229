"""What a kernel lacks to be heard of on this board, as far as its symbols tell.

A kernel without these may boot all the same, so none is refused: this explains a silence.
"""

from __future__ import annotations

from collections.abc import Mapping

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.late_dataclasses import dataclass

__all__ = ["CONSOLES", "lacks"]

CONSOLES = halves(x86_64="ttyS0", arm64="ttyAMA0")
"""The serial console of each board, as the kernel names it."""


@dataclass(frozen=True)
class _Part:
    """``symbols``: functions of which a kernel with ``option`` has one (Linux 5.10 to 7.2)."""

    what: str
    option: str
    symbols: tuple[str, ...]


_COMMON = (
    _Part("support for an initial RAM file system", "BLK_DEV_INITRD", ("populate_rootfs",)),
    _Part("support for programs in ELF", "BINFMT_ELF", ("load_elf_binary",)),
)
_PARTS: Mapping[str, tuple[_Part, ...]] = halves(
    x86_64=(
        _Part("console on the serial port", "SERIAL_8250_CONSOLE", ("univ8250_console_setup",)),
        *_COMMON,
    ),
    arm64=(
        _Part("console on the PL011", "SERIAL_AMBA_PL011_CONSOLE", ("pl011_console_setup",)),
        _Part("driver of the GICv2", "ARM_GIC", ("__gic_init_bases",)),
        _Part("support for PSCI firmware", "ARM_PSCI_FW", ("psci_0_2_init",)),
        *_COMMON,
    ),
)
# What the banner of a kernel says that cannot run on the board, and why.
_REFUSED: Mapping[str, tuple[tuple[str, str], ...]] = halves(
    x86_64=(
        (
            # Its irq_work waits for an interrupt that a CPU sends itself. QEMU hangs, too.
            "PREEMPT_RT",
            "PREEMPT_RT kernels need a local APIC, which this board does not have",
        ),
    ),
    arm64=(),
)
_KNOWN = "start_kernel"  # in all symbol tables that are complete


def lacks(image: KernelImage, append: str, *, silent: bool) -> list[str]:
    """One line for each thing that is missing; nothing where the symbols do not tell.

    ``silent``: the guest has printed nothing; if it has, little of this explains anything.
    """
    found = [why for said, why in _REFUSED[image.arch] if said in image.banner]
    if not silent:
        return found
    console = CONSOLES[image.arch]
    if not any(word.startswith(f"console={console}") for word in append.split()):
        found.append(f"the command line has no console={console}")
    if image.has_symbols and image.symbols.candidates(_KNOWN):
        found += [
            f"this kernel was built without CONFIG_{part.option}: no {part.what}"
            for part in _PARTS[image.arch]
            if not any(image.symbols.candidates(name) for name in part.symbols)
        ]
    return found
