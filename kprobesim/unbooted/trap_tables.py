"""What the kernel's own exception handlers do: __ex_table fix-ups, BUG() and WARN()."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import BugEntry, KernelImage
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.faults import GuestBug
from kprobesim.machine.machine import Machine
from kprobesim.machine.registers import PtRegs, X86PtRegs
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.unbooted.extable_arm64 import fix_up_arm64
from kprobesim.unbooted.extable_x86 import fix_up_x86

__all__ = ["GuestWarning", "KernelExceptions"]

# ud1 (%edx), %rdi, x86 since 6.19: in __WARN_trap(), and patched over its calls, which bug entries
# name.
_WARN_TRAP = bytes.fromhex("67480fb93a")

_FIXABLE = (
    TrapKind.PAGE_FAULT,
    TrapKind.PROTECTION,
    TrapKind.UNDEFINED,
    TrapKind.DIVIDE,
    TrapKind.ALIGNMENT,
)


_FIX_UP: Mapping[str, Callable[..., bool]] = halves(x86_64=fix_up_x86, arm64=fix_up_arm64)


@dataclass(frozen=True, repr=False)
class GuestWarning(HexRepr):
    """A ``WARN()`` that the guest executed and went on from. ``trace`` are its callers."""

    file: str | None
    line: int
    address: int
    place: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file else "an unknown line"
        return f"WARNING at {where}, {self.place}"


class KernelExceptions:
    """Handles the traps that the kernel's tables speak of; ``warnings`` collects the WARN()s."""

    def __init__(self, machine: Machine, image: KernelImage) -> None:
        self._machine = machine
        self._image = image
        self._fix_up = _FIX_UP[image.arch]
        self._reported: set[int] = set()
        self.warnings: list[GuestWarning] = []

    def save(self) -> Any:
        """Which warnings there were, for :meth:`restore`."""
        return self.warnings[:], set(self._reported)

    def restore(self, kept: Any) -> None:
        """Forget the warnings that came after :meth:`save` gave ``kept``."""
        warnings, reported = kept
        self.warnings[:] = warnings
        self._reported = set(reported)

    def handle(self, trap: Trap, regs: PtRegs) -> bool:
        """Fix up a fault that __ex_table foresees, report BUG and WARN; false: neither."""
        if trap.kind in (TrapKind.UNDEFINED, TrapKind.BREAKPOINT):
            size = len(_WARN_TRAP)
            entry = self._warn_trap(regs)
            if entry is None:
                size = self._image.isa.bug_size
                entry = self._image.bug_table.at(regs.ip)
            if entry is not None:
                if entry.is_warning or not self._machine.notify_die(trap, regs):
                    self._report(entry, trap, regs, size)
                return True
        if trap.kind in _FIXABLE:
            fixup = self._image.exception_table.search(regs.ip)
            if fixup is not None:
                machine = self._machine
                return self._fix_up(
                    self._image, machine.memory, machine.read_code, fixup, trap, regs
                )
        return False

    def _warn_trap(self, regs: PtRegs) -> BugEntry | None:
        """The entry that __WARN_trap() or what stands for it reports: its argument."""
        if not isinstance(regs, X86PtRegs):
            return None
        try:
            code = self._machine.memory.read(regs.ip, len(_WARN_TRAP))
        except GuestMemoryError:
            return None
        return self._image.bug_table.record(regs.di) if code == _WARN_TRAP else None

    def _report(self, entry: BugEntry, trap: Trap, regs: PtRegs, size: int) -> None:
        machine = self._machine
        kept = regs.copy()
        place, trace = machine.symbolize(kept.ip), machine.unwind(kept)
        if not entry.is_warning:
            raise GuestBug(trap, kept, place, trace, entry.file, entry.line)
        if not entry.is_once or entry.addr not in self._reported:
            self._reported.add(entry.addr)
            place = machine.symbolize(entry.addr)
            self.warnings.append(
                GuestWarning(entry.file, entry.line, entry.addr, place, tuple(trace))
            )
        regs.ip = regs.ip + size
