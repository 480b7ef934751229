"""The shadow memory of KASAN (Documentation/dev-tools/kasan.rst), as early boot maps it.

Instrumented code reads, for each access, the shadow of the address; some writes that of its stack
frame, too. Early boot maps one page of zeroes ("all may be accessed") for the whole shadow, and
later pages of its own for memory that is used (mm/kasan/init.c). Here a page becomes one of its own
when it is written to.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.machine.arm64 import Arm64Cpu
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.sizes import MASK64, PAGE, page_down

__all__ = ["set_up_kasan"]

# Functions that compilers call when they instrument, or the kernel when a stack is left.
_GENERIC = ("__asan_handle_no_return", "__asan_load8_noabort", "__asan_report_load8_noabort")
_TAGS = ("__hwasan_tag_memory", "__hwasan_load8_noabort")

_X86_OFFSET, _X86_START, _X86_END = 0xDFFF_FC00_0000_0000, 0xFFFF_EC << 40, 0xFFFF_FC << 40
# KASAN_SHADOW_OFFSET by CONFIG_ARM64_VA_BITS (arch/arm64/Kconfig): generic, software tags
_ARM64_OFFSETS = {
    48: (0xDFFF_8000_0000_0000, 0xEFFF_8000_0000_0000),
    47: (0xDFFF_C000_0000_0000, 0xEFFF_C000_0000_0000),
    42: (0xDFFF_FE00_0000_0000, 0xEFFF_FE00_0000_0000),
    39: (0xDFFF_FFC0_0000_0000, 0xEFFF_FFC0_0000_0000),
    36: (0xDFFF_FFF8_0000_0000, 0xEFFF_FFF8_0000_0000),
}
_ALL_TAGS = b"\xfe"  # KASAN_TAG_INVALID; a pointer without a tag, 0xff, may access it all the same

_USER_BITS = 48


class _Layout(NamedTuple):
    """The shadow of ``a`` is at ``(a >> scale) + offset``, between ``start`` and ``end``."""

    offset: int
    scale: int
    start: int
    end: int
    fill: bytes


def set_up_kasan(machine: Machine, image: KernelImage) -> None:
    """Map the shadow, if code of ``image`` is instrumented for KASAN."""
    layout = _layout(image)
    if layout is None:
        return
    if layout.fill != b"\0" and isinstance(machine.cpu, Arm64Cpu):
        machine.cpu.ignore_kernel_tags()
    shadow = _Shadow(machine, layout)
    machine.vcpu.traps.faults.append(shadow.handle)
    machine.explainers.append(shadow.explain)
    machine.stacks.cleaners.append(shadow.clean)


def _layout(image: KernelImage) -> _Layout | None:
    generic = any(image.symbols.candidates(name) for name in _GENERIC)
    return _LAYOUTS[image.arch](image, generic)


def _x86_layout(_image: KernelImage, generic: bool) -> _Layout | None:
    return _Layout(_X86_OFFSET, 3, _X86_START, _X86_END, b"\0") if generic else None


def _arm64_layout(image: KernelImage, generic: bool) -> _Layout | None:
    if not generic and not any(image.symbols.candidates(name) for name in _TAGS):
        return None
    # The kernel lies close above where its half of the addresses is cut in two.
    bits = (MASK64 - image.segments[0].vaddr).bit_length() + 1
    offsets = _ARM64_OFFSETS.get(bits)
    if offsets is None:
        return None
    scale, offset, fill = (3, offsets[0], b"\0") if generic else (4, offsets[1], _ALL_TAGS)
    end = (1 << 64 - scale) + offset
    # (Our stacks and heap have 48 bits, whatever the kernel's have.)
    return _Layout(offset, scale, end - (1 << 48 - scale), end, fill)


_LAYOUTS = halves(x86_64=_x86_layout, arm64=_arm64_layout)


class _Shadow:
    def __init__(self, machine: Machine, layout: _Layout) -> None:
        self._machine = machine
        self._layout = layout
        memory = machine.memory
        frame = memory.take_frames()
        at = frame - memory.base
        memory.ram[at : at + PAGE] = self._page = layout.fill * PAGE
        memory.tables.map_repeated(layout.start, layout.end, frame, int(Prot.R))

    def handle(self, trap: Trap, _regs: PtRegs) -> bool:
        """Give a page of the shadow that is written to frames of its own."""
        layout, address = self._layout, trap.address
        if trap.kind is not TrapKind.PAGE_FAULT or trap.access != "write" or address is None:
            return False
        memory, page = self._machine.memory, page_down(address)
        if not layout.start <= address < layout.end or memory.region(page) is not None:
            return False
        memory.map_new(page, PAGE, Prot.RW, "KASAN shadow")
        memory.write(page, self._page)
        self._machine.engine.flush_tlb()
        return True

    def explain(self, trap: Trap, _regs: PtRegs) -> str:
        """Which access the shadow of a wild address was read for (kasan_non_canonical_hook())."""
        layout, address = self._layout, trap.address
        if trap.kind is not TrapKind.PAGE_FAULT or address is None or address >= layout.start:
            return ""
        first = (address - layout.offset) << layout.scale
        if address < layout.offset or first >> _USER_BITS:
            return ""
        return f"KASAN was asked about {first:#x}-{first + (1 << layout.scale) - 1:#x}"

    def clean(self, start: int, end: int) -> None:
        """Forget what the frames of a call that was abandoned have marked in a stack's shadow."""
        layout, memory = self._layout, self._machine.memory
        first, last = ((at >> layout.scale) + layout.offset & MASK64 for at in (start, end - 1))
        for page in range(page_down(first), last + 1, PAGE):
            if memory.region(page) is not None:
                memory.write(page, self._page)
