"""The die chain: who is asked about an exception when neither kprobes nor a table took it.

register_die_notifier() and notify_die() (kernel/notifier.c, arch/x86/kernel/traps.c, 6.1). For an
INT3 the order is the kernel's: kprobes first, then this chain, then the end.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from kprobesim.errors import UsageError
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["DieArgs", "DieChain", "DieVal", "NotifierBlock", "Notify"]

_INT3_SIZE = 1


class DieVal(enum.IntEnum):
    """What has happened (enum die_val of arch/x86/include/asm/kdebug.h; ARM64 knows OOPS only)."""

    DIE_OOPS = 1
    DIE_INT3 = 2
    DIE_DEBUG = 3
    DIE_TRAP = 8
    DIE_GPF = 9


class Notify(enum.IntEnum):
    """What a callback returns (include/linux/notifier.h); ``None`` is DONE."""

    NOTIFY_DONE = 0
    NOTIFY_OK = 1
    NOTIFY_STOP = 0x8001
    NOTIFY_BAD = 0x8002


_STOP_MASK = 0x8000
_X86 = {
    TrapKind.BREAKPOINT: (DieVal.DIE_INT3, "int3"),
    TrapKind.STEP: (DieVal.DIE_DEBUG, "debug"),
    TrapKind.UNDEFINED: (DieVal.DIE_TRAP, "invalid opcode"),
    TrapKind.DIVIDE: (DieVal.DIE_TRAP, "divide error"),
    TrapKind.PROTECTION: (DieVal.DIE_GPF, "general protection fault"),
}


@dataclass(frozen=True)
class DieArgs:
    """``struct die_args``: ``regs`` are live; behind an INT3 ``regs.ip`` is one byte on."""

    regs: PtRegs
    str: str
    err: int
    trapnr: int


Callback = Callable[["NotifierBlock", DieVal, DieArgs], "int | None"]


@dataclass(eq=False)
class NotifierBlock:
    """``struct notifier_block``: those with a higher ``priority`` are asked first.

    ``notifier_call(nb, val, args)`` returns a :class:`Notify`: STOP means that the guest goes on
    with the registers as they are now.
    """

    notifier_call: Callback
    priority: int = 0


@dataclass
class DieChain:
    """The registered callbacks, in the order in which they are asked."""

    arch: str
    blocks: list[NotifierBlock] = field(default_factory=list)

    def register(self, nb: NotifierBlock) -> None:
        """Behind those of the same priority; raises :class:`UsageError` for a second time."""
        if not isinstance(nb, NotifierBlock) or not callable(nb.notifier_call):
            raise UsageError(f"{nb!r} is no NotifierBlock with a function")
        if nb in self.blocks:
            raise UsageError("this notifier is registered already (-EEXIST)")
        at = sum(other.priority >= nb.priority for other in self.blocks)
        self.blocks.insert(at, nb)

    def unregister(self, nb: NotifierBlock) -> None:
        """Raises :class:`UsageError` if it is not registered."""
        if nb not in self.blocks:
            raise UsageError("this notifier is not registered (-ENOENT)")
        self.blocks.remove(nb)

    def handle(self, trap: Trap, regs: PtRegs) -> bool:
        """Whether a callback stopped the exception: first as what it is, then as an oops."""
        if not self.blocks:
            return False
        if self.arch == "x86_64" and trap.kind in _X86:
            val, text = _X86[trap.kind]
            behind = _INT3_SIZE if trap.kind is TrapKind.BREAKPOINT else 0
            regs.ip = regs.ip + behind
            if self._notify(val, DieArgs(regs, text, trap.code, trap.number)):
                return True
            regs.ip = regs.ip - behind
        return self._notify(DieVal.DIE_OOPS, DieArgs(regs, trap.kind.value, trap.code, trap.number))

    def _notify(self, val: DieVal, args: DieArgs) -> bool:
        for nb in list(self.blocks):
            answer = nb.notifier_call(nb, val, args) or 0
            if answer & _STOP_MASK:
                return answer == Notify.NOTIFY_STOP
        return False
