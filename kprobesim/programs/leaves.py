"""The values that a hit itself gives: registers, arguments, a result, facts of task and time."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.programs.types import ALWAYS_KNOWN, FACTS, U64, Int, Type
from kprobesim.programs.values import Value

__all__ = ["Argument", "Fact", "Register", "Result", "StackArgument"]


@dataclass(frozen=True, eq=False, repr=False)
class Register(Value):
    """A general register, by the kernel's name for it."""

    name: str

    @property
    def type(self) -> Int:
        return U64

    def __str__(self) -> str:
        return f"reg({self.name!r})"


@dataclass(frozen=True, eq=False, repr=False)
class Argument(Value):
    """The function's argument ``n``, from 0 on; in a return program what it was at the entry."""

    n: int

    @property
    def type(self) -> Int:
        return U64

    def __str__(self) -> str:
        return f"arg({self.n})"


@dataclass(frozen=True, eq=False, repr=False)
class StackArgument(Argument):
    """One that lies on the stack, as ``regs_get_kernel_argument()`` reads it; 0 if it cannot."""


@dataclass(frozen=True, eq=False, repr=False)
class Result(Value):
    """What the function returns."""

    @property
    def type(self) -> Int:
        return U64

    def __str__(self) -> str:
        return "retval"


@dataclass(frozen=True, eq=False, repr=False)
class Fact(Value):
    """One of :data:`FACTS`."""

    name: str

    @property
    def type(self) -> Type:
        return FACTS[self.name]

    @property
    def _may_fault(self) -> bool:  # type: ignore[override]
        return self.name not in ALWAYS_KNOWN

    def __str__(self) -> str:
        return self.name
