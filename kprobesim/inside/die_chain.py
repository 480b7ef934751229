"""A booted guest's own ``notify_die()``: our notifiers are asked before those of the guest.

The guest handles its traps itself and calls that function for what nobody has claimed, before it
reports an oops. It is hooked; no byte of the guest changes.
"""

from __future__ import annotations

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.die_notifiers import DieEvent, Notify
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.system import System
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["watch_die_chain"]

_EVENTS = frozenset(map(int, DieEvent))
_READ_ONLY = ("cs", "ss")
_X86_KINDS = {
    0: TrapKind.DIVIDE,
    1: TrapKind.STEP,
    3: TrapKind.BREAKPOINT,
    6: TrapKind.UNDEFINED,
    13: TrapKind.PROTECTION,
    14: TrapKind.PAGE_FAULT,
    17: TrapKind.ALIGNMENT,
}
_ARM64_KINDS = {
    0x00: TrapKind.UNDEFINED,
    0x21: TrapKind.PAGE_FAULT,
    0x25: TrapKind.PAGE_FAULT,
    0x3C: TrapKind.BREAKPOINT,
}
"""By the exception class, bits 31:26 of the ESR."""


def watch_die_chain(machine: System, image: KernelImage) -> None:
    """Ask ``machine.die_notifiers`` whenever the guest calls ``notify_die()``.

    Raises :class:`UsageError` for a kernel without that symbol.
    """
    found = image.symbols.candidates("notify_die")
    if not found:
        raise UsageError(f"{image.path} has no notify_die(): nobody can be asked before it dies")

    def on_notify_die(_address: int) -> bool:
        live = machine.regs
        event, place, code, number = live.arg(0), live.arg(2), live.arg(3), live.arg(4)
        if machine.arch == "arm64":
            number = code >> 26 & 0x3F
            kind = _ARM64_KINDS.get(number, TrapKind.OTHER)
        elif event == DieEvent.DIE_OOPS and not number:  # not said
            kind = TrapKind.OTHER
        else:
            kind = _X86_KINDS.get(number, TrapKind.OTHER)
        if event not in _EVENTS:
            return False
        try:
            regs = _read(machine, place)
            before = regs.as_dict()
            if machine.die_notifiers.call(DieEvent(event), regs, Trap(kind, number, code)):
                _write_changes(machine, place, before, regs)
                machine.vcpu.return_to_caller(Notify.NOTIFY_STOP)
                machine.engine.leave_block()
                return True
        except GuestMemoryError:
            pass  # a call without registers, such as a panic's
        return False

    machine.code_watch.watch(found[0].address, on_notify_die, INSIDE)


def _read(machine: System, place: int) -> PtRegs:
    """The ``struct pt_regs`` at ``place``, detached from the CPU."""
    regs = machine.regs.copy()
    data = machine.memory.read(place, 8 * len(regs.NAMES))
    for index, name in enumerate(regs.NAMES):
        if name not in _READ_ONLY:
            setattr(regs, name, int.from_bytes(data[8 * index : 8 * index + 8], "little"))
    return regs


def _write_changes(machine: System, place: int, before: dict[str, int], regs: PtRegs) -> None:
    for index, name in enumerate(regs.NAMES):
        value = getattr(regs, name)
        if value != before[name]:
            machine.memory.write_u64(place + 8 * index, value)
