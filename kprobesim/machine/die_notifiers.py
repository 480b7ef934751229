"""``register_die_notifier()``: who is asked before a trap that nobody claims ends the guest's run.

Events and answers have the numbers of include/linux/notifier.h, arch/x86/include/asm/kdebug.h and
include/asm-generic/kdebug.h.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from kprobesim.arch.architecture import halves
from kprobesim.errors import UsageError
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["DieEvent", "DieNotifier", "DieNotifiers", "Notify", "event_of"]


class DieEvent(enum.IntEnum):
    """Why it is asked (``enum die_val``). ARM64 kernels know ``DIE_OOPS`` only."""

    DIE_OOPS = 1
    DIE_INT3 = 2
    DIE_DEBUG = 3
    DIE_PANIC = 4
    DIE_NMI = 5
    DIE_DIE = 6
    DIE_KERNELDEBUG = 7
    DIE_TRAP = 8
    DIE_GPF = 9
    DIE_CALL = 10
    DIE_PAGE_FAULT = 11
    DIE_NMIUNKNOWN = 12


class Notify(enum.IntEnum):
    """What a notifier answers; ``None`` is ``NOTIFY_DONE``."""

    NOTIFY_DONE = 0
    NOTIFY_OK = 1
    NOTIFY_BAD = 0x8002
    NOTIFY_STOP = 0x8001


_STOP_MASK = 0x8000
_X86_EVENTS = {
    TrapKind.BREAKPOINT: DieEvent.DIE_INT3,
    TrapKind.STEP: DieEvent.DIE_DEBUG,
    TrapKind.PROTECTION: DieEvent.DIE_GPF,
    TrapKind.PAGE_FAULT: DieEvent.DIE_OOPS,
}
# By kind, and for every other one.
_EVENTS = halves(x86_64=(_X86_EVENTS, DieEvent.DIE_TRAP), arm64=({}, DieEvent.DIE_OOPS))
_NO_DEATH = (TrapKind.HALT, TrapKind.SYSCALL)

DieNotifier = Callable[[DieEvent, PtRegs, Trap], "int | None"]
"""``callback(event, regs, trap)``: ``NOTIFY_STOP`` if it has dealt with it."""


def event_of(trap: Trap, arch: str) -> DieEvent | None:
    """The event for ``trap``; ``None``: a kernel does not die of it."""
    if trap.kind in _NO_DEATH:
        return None
    events, otherwise = _EVENTS[arch]
    return events.get(trap.kind, otherwise)


class DieNotifiers:
    """``die_chain``: the callbacks, those of higher priority first, then in order."""

    def __init__(self) -> None:
        self._chain: list[tuple[int, DieNotifier]] = []

    def __bool__(self) -> bool:
        return bool(self._chain)

    def register(self, callback: DieNotifier, priority: int = 0) -> None:
        """Ask ``callback``, too."""
        at = sum(other >= priority for other, _ in self._chain)
        self._chain.insert(at, (priority, callback))

    def unregister(self, callback: DieNotifier) -> bool:
        """Ask it no longer; false if it was not asked."""
        for entry in self._chain:
            if entry[1] == callback:
                self._chain.remove(entry)
                return True
        return False

    def call(self, event: DieEvent, regs: PtRegs, trap: Trap) -> bool:
        """Whether somebody has dealt with it."""
        for _, callback in list(self._chain):
            answer = callback(event, regs, trap) or 0
            if not isinstance(answer, int):
                raise UsageError(f"die notifier {callback!r} answered {answer!r}: give a Notify")
            if answer & _STOP_MASK:
                return True
        return False
