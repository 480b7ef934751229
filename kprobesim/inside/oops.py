"""Notices an oops of one task before the guest's own handling has done anything about it.

A fault in the kernel may be all right (a copy from user space, the exception table), so it is left
to the guest. When the guest gives up, it comes to one of a few functions; what was the last fault
of that task is then the oops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kprobesim.arch.architecture import halves
from kprobesim.boot.board import Board
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.image import KernelImage
from kprobesim.inside.cpu_context import Standing
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.faults import GuestBug, GuestFault
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["OopsWatch"]

# arch/x86/kernel/dumpstack.c; arch/arm64/mm/fault.c, arch/arm64/kernel/traps.c. Each is called
# before a lock is taken.
_GIVING_UP: Mapping[str, tuple[str, ...]] = halves(
    x86_64=("oops_begin",), arm64=("die_kernel_fault", "die")
)
_LAST_RESORT = "oops_enter"  # kernel/panic.c


class OopsWatch:
    """``with watching(task)`` a run ends when ``task`` oopses, and ``seen`` is then true."""

    def __init__(self, board: Board, image: KernelImage, standing: Standing) -> None:
        self._board = board
        self._machine = board.machine
        self._image = image
        self._standing = standing
        self._task: int | None = None
        self._faults: dict[int | None, tuple[Trap, PtRegs]] = {}
        self._hooked = False
        self.seen = False

    @contextmanager
    def watching(self, task: int | None) -> Iterator[None]:
        """Watch ``task``."""
        if not self._hooked:
            self._hooked = True
            self._hook()
        machine, standing, faults = self._machine, self._standing, self._faults
        witnesses = [vcpu.traps.witnesses for vcpu in machine.vcpus]

        def remember(vector: int) -> None:
            if not standing.in_user_mode():
                faults[standing.task()] = machine.cpu.trap(vector), machine.regs.copy()

        self.seen = False
        faults.clear()
        self._task = task
        for each in witnesses:
            each.append(remember)
        try:
            yield
        finally:
            for each in witnesses:
                each.remove(remember)
            self._task = None

    def fault(self) -> GuestFault:
        """The error that tells of it."""
        machine = self._machine
        trap, regs = next(iter(self._faults.values()))
        if trap.kind in (TrapKind.UNDEFINED, TrapKind.BREAKPOINT):
            entry = self._image.bug_table.at(regs.ip)
            if entry is not None and not entry.is_warning:
                place, trace = machine.symbolize(regs.ip), machine.unwind(regs)
                return GuestBug(trap, regs, place, trace, entry.file, entry.line)
        return machine.fault_of(trap, regs)

    def _hook(self) -> None:
        symbols, machine = self._image.symbols, self._machine
        names = _GIVING_UP[self._image.arch]
        found = [s for name in names for s in symbols.candidates(name)]
        for symbol in found or symbols.candidates(_LAST_RESORT):
            machine.code_watch.watch(symbol.address, self._on_oops, INSIDE)

    def _on_oops(self, _address: int) -> None:
        task = self._task
        if task is None or self._standing.task() != task:
            return  # somebody else's
        fault = self._faults.get(task)
        if fault is None:
            fault = Trap(TrapKind.OTHER, 0), self._machine.regs.copy()
        self._faults.clear()
        self._faults[task] = fault
        self.seen = True
        self._board.stop(StopReason(Stop.REQUESTED, "the call"))
        self._machine.engine.stop()
