"""The words that values are written with: ``from kprobesim.programs import arg, comm``."""

from __future__ import annotations

from kprobesim.errors import UsageError
from kprobesim.programs.leaves import Argument, Fact, Register, Result
from kprobesim.programs.values import Const, as_value

__all__ = [
    "arg",
    "caller",
    "comm",
    "const",
    "cpu",
    "duration",
    "here",
    "now",
    "pid",
    "reg",
    "retval",
    "stack_id",
    "tgid",
]

retval = Result()
"""What the function returns; makes a program one of returns."""
comm = Fact("comm")
"""The name of the task that runs."""
pid = Fact("pid")
"""The number of the task (a thread's own)."""
tgid = Fact("tgid")
"""The number of its process."""
cpu = Fact("cpu")
"""The number of the CPU."""
now = Fact("now")
"""The guest's time in nanoseconds."""
caller = Fact("caller")
"""Where the function returns to; at its entry, or when it returns."""
stack_id = Fact("stack_id")
"""A number for the stack of callers."""
here = Fact("here")
"""The address of the probe."""
duration = Fact("duration")
"""From the function's entry to its return, in the guest's nanoseconds."""


def arg(n: int) -> Argument:
    """The function's argument ``n``, from 0 on, if a register carries it.

    Raises:
        UsageError: No function has such an argument.
    """
    if not isinstance(n, int) or n < 0:
        raise UsageError(f"argument {n!r}: they are counted from 0")
    return Argument(n)


def reg(name: str) -> Register:
    """The general register ``name``, as the kernel's ``struct pt_regs`` calls it: "di", "x0".

    Raises:
        UsageError: No register of any architecture has that name.
    """
    if not isinstance(name, str):
        raise UsageError(f"register {name!r}: give its name, such as 'di' or 'x0'")
    return Register(name)


def const(number: int) -> Const:
    """A number, where a value is wanted.

    Raises:
        UsageError: It has more than 64 bits, or is none.
    """
    value = as_value(number)
    if not isinstance(value, Const):
        raise UsageError(f"{number!r} is no number")
    return value
