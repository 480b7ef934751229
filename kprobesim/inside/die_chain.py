"""A booted guest's own ``notify_die()``: our notifiers are asked before those of the guest.

The guest handles its traps itself and calls that function for what nobody has claimed, before it
reports an oops. It is hooked; no byte of the guest changes.
"""

from __future__ import annotations

from kprobesim.arch.architecture import ARM64, X86_64, halves
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


def _x86_trap(event: int, code: int, number: int) -> Trap:
    unsaid = event == DieEvent.DIE_OOPS and not number
    kind = TrapKind.OTHER if unsaid else X86_64.trap_kinds.get(number, TrapKind.OTHER)
    return Trap(kind, number, code)


def _arm64_trap(_event: int, code: int, _number: int) -> Trap:
    number = code >> 26 & 0x3F  # the exception class of the ESR
    return Trap(ARM64.trap_kinds.get(number, TrapKind.OTHER), number, code)


_TRAPS = halves(x86_64=_x86_trap, arm64=_arm64_trap)


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
        if event not in _EVENTS:
            return False
        try:
            regs = _read(machine, place)
            before, trap = regs.as_dict(), _TRAPS[machine.arch](event, code, number)
            if machine.die_notifiers.call(DieEvent(event), regs, trap):
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
