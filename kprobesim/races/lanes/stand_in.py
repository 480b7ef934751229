"""What all do who stand in for a function of a kernel that is called, at its first instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

__all__ = ["argument", "return_at_once"]


def argument(machine: Machine, number: int) -> int:
    """An argument that is in a register."""
    return int(machine.words[machine.cpu.regs_class.ARGUMENTS[number]])


def return_at_once(machine: Machine, value: int | None = None) -> bool:
    """Let the CPU go on at the caller, with ``value`` as the result; true, as arrivals answer."""
    machine.vcpu.return_to_caller(value)
    machine.engine.leave_block()
    return True
