"""From an address to what a probe there needs: a slot's bytes or a simulation, or a refusal."""

from __future__ import annotations

import errno
import struct

from kprobesim.arch.arm64.constants import BRK_KPROBE_STEP, INSN_SIZE, brk_imm
from kprobesim.arch.arm64.decode import (
    Read,
    check_exclusive_sequence,
    emulate_kind,
    why_rejected,
)
from kprobesim.arch.arm64.options import DEFAULT, Options
from kprobesim.arch.arm64.simulate import BRANCHES, Emulate, build
from kprobesim.arch.refused import Refused
from kprobesim.errors import Reason
from kprobesim.late_dataclasses import dataclass
from kprobesim.sizes import MASK64

__all__ = ["ArchInsn", "prepare"]


@dataclass(frozen=True)
class ArchInsn:
    """What the architecture keeps for one probe (the kernel's ``struct arch_specific_insn``).

    ``insn`` is the slot's address and ``slot_bytes`` its contents, or ``emulate`` does the
    instruction and both are empty. ``restore`` is where to resume after a step, 0 after a
    simulation, which sets pc itself.
    """

    opcode: int
    insn: int | None
    slot_bytes: bytes
    emulate: Emulate | None
    emulate_kind: str | None
    restore: int
    size: int = INSN_SIZE
    boostable: bool = False
    fix_up: None = None
    late_boost: None = None
    repeats: bool = False
    shadows: bool = False

    @property
    def ends_block(self) -> bool:
        """Whether it is a branch, where a block of Unicorn's ends."""
        return self.emulate_kind in BRANCHES

    @property
    def falls_through(self) -> bool:
        """Whether the instruction behind it comes next, if it does not fault.

        True of all that may be stepped: see :mod:`kprobesim.arch.arm64.decode`.
        """
        return self.emulate is None

    def boosted(self) -> ArchInsn:
        """There is no boosting on ARM64."""
        return self


def prepare(
    read: Read,
    address: int,
    *,
    slot: int | None,
    options: Options = DEFAULT,
    read_live: Read | None = None,
    symbol_start: int | None = None,
) -> ArchInsn:
    """Decide about a probe at ``address``, in the order of ``arch_prepare_kprobe`` (6.1).

    ``read`` gives the original bytes, ``read_live`` what memory holds now, other probes'
    breakpoints included (default: ``read``). ``slot`` is the address of a free slot, not used
    when the instruction is simulated. ``symbol_start`` is the address of the enclosing symbol;
    ``None`` skips the scan for an open exclusive sequence, as in the kernel. Raises ``Refused``
    (EINVAL; ENOMEM without a slot).
    """
    if address & 3:
        raise Refused(
            errno.EINVAL,
            Reason.UNALIGNED,
            f"{address:#x} is not a multiple of 4: probe the start of an instruction",
        )
    word: int
    (word,) = struct.unpack("<I", read(address, INSN_SIZE))
    if options.has_exception_entry:
        raise Refused(
            errno.EINVAL,
            Reason.EXCEPTION_TABLE,
            f"the kernel expects faults at {address:#x} (exception table): "
            "probe a neighbouring instruction",
        )
    rejected = why_rejected(word, options)
    if rejected is not None:
        if brk_imm(word) is not None:
            reason, rejected = Reason.BREAKPOINT, "the kernel's own breakpoint"
        else:
            reason = Reason.UNPROBEABLE_INSTRUCTION
        raise Refused(
            errno.EINVAL,
            reason,
            f"the word {word:#010x} at {address:#x} is {rejected}: "
            "probe a neighbouring instruction",
        )
    opened = check_exclusive_sequence(read_live or read, symbol_start, address, options)
    if opened is not None:
        raise Refused(
            errno.EINVAL,
            Reason.EXCLUSIVE_SEQUENCE,
            f"{address:#x} is at most 32 instructions after the exclusive load at {opened:#x} "
            "with no exclusive store between: probe in front of it, after its store, or further on",
        )
    kind = emulate_kind(word, options)
    if kind is not None:
        return ArchInsn(word, None, b"", build(kind, word, address), kind, 0)
    if slot is None:
        raise Refused(
            errno.ENOMEM,
            Reason.NO_SLOT,
            f"no slot is free for the instruction at {address:#x}: unregister some probes",
        )
    # A trapping step never reaches the breakpoint; it guards against running off the slot.
    slot_bytes = struct.pack("<II", word, BRK_KPROBE_STEP)[: options.slot_size]
    return ArchInsn(word, slot, slot_bytes, None, None, address + INSN_SIZE & MASK64)
