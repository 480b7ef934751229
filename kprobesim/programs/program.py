"""``Program``: a condition, and what is done at each hit that meets it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from kprobesim.arch.abi import Abi
from kprobesim.errors import UsageError
from kprobesim.programs.actions import Action
from kprobesim.programs.leaves import Argument, Fact, Register, Result, StackArgument
from kprobesim.programs.types import AT_PLACE, Str
from kprobesim.programs.values import Value, as_value

__all__ = ["Program"]

_ACTIONS = 32
_MOST_ACTIVE = 1 << 20


class Program:
    """What is done at each hit of a probe.

    >>> Program([Count(key=comm), Histogram(arg(2))], when=arg(2) > 0)

    Attributes:
        actions: Done one after the other; each has a store of its own.
        when: A condition (or a number that must not be 0); where it cannot be computed, it is not
            met. ``None``: always.
        returns: Whether it runs when the function returns; by default if a value needs that
            (``retval``, ``duration``). Arguments are then what they were at the entry, as in the
            kernel since 6.9.
        maxactive: How many calls a return program follows at a time, as a ``Kretprobe``'s.
        shared: Whether the calls that a return program follows are those of many functions; each
            keeps then which it is of (``Fact("here")``).
    """

    def __init__(
        self,
        actions: Action | Iterable[Action],
        when: Any = None,
        returns: bool | None = None,
        maxactive: int = 0,
        shared: bool = False,
    ) -> None:
        """Put a program together; raises :class:`UsageError` if that makes no sense."""
        if not isinstance(maxactive, int) or not -(1 << 31) <= maxactive < _MOST_ACTIVE:
            raise UsageError(f"maxactive {maxactive!r}: give an int below {_MOST_ACTIVE}")
        self.maxactive = maxactive
        self.shared = shared
        if returns not in (None, True, False):
            raise UsageError(f"returns {returns!r}: give True, False, or None")
        if not isinstance(actions, (Action, Iterable)):
            raise UsageError(f"{actions!r} is no action: give Count(), Record(...) and the like")
        self.actions = (actions,) if isinstance(actions, Action) else tuple(actions)
        for action in self.actions:
            if not isinstance(action, Action):
                raise UsageError(f"{action!r} is no action: give Count(), Record(...) and the like")
        if not 1 <= len(self.actions) <= _ACTIONS:
            raise UsageError(f"a program of {len(self.actions)} actions: give 1 to {_ACTIONS}")
        self.when = None if when is None else as_value(when, "a condition")
        if self.when is not None and isinstance(self.when.type, Str):
            raise UsageError(f"the condition {when} is a string: compare it with one, by ==")
        needs = next((v for v in self.values if _needs_return(v)), None)
        if needs is not None and returns is False:
            raise UsageError(f"{needs} is not known at the entry of a function: leave returns out")
        self.returns = needs is not None if returns is None else bool(returns)

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """All values that it computes, and what those are made of."""
        tops = [] if self.when is None else [self.when]
        tops += [value for action in self.actions for value in action.values]
        return tuple(value for top in tops for value in top.walk())

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """The arguments that a return program keeps from the entry, each once."""
        arguments = {v.n: v for v in self.values if isinstance(v, Argument)}
        return tuple(arguments[n] for n in sorted(arguments)) if self.returns else ()

    @property
    def saved(self) -> tuple[Value, ...]:
        """All that it keeps from there."""
        return (*self.arguments, Fact("here")) if self.shared else self.arguments

    @cached_property
    def is_timed(self) -> bool:
        """Whether it wants to know how long a call takes."""
        return any(isinstance(v, Fact) and v.name == "duration" for v in self.values)

    @cached_property
    def asks_for_stacks(self) -> bool:
        """Whether it keeps numbers of stacks."""
        return any(isinstance(v, Fact) and v.name in AT_PLACE for v in self.values)

    @cached_property
    def shape(self) -> tuple[Any, ...]:
        """Equal for programs that the same code can be compiled for."""
        when = None if self.when is None else self.when.shape
        return when, tuple(action.shape for action in self.actions), self.returns, self.shared

    def check(self, abi: Abi) -> None:
        """Whether it can be run on an architecture.

        Raises:
            UsageError: It reads a register or an argument that is not there.
        """
        for value in self.values:
            if isinstance(value, Register) and value.name not in {*abi.registers, *abi.pt_regs}:
                raise UsageError(
                    f"there is no register {value.name!r}: there are {', '.join(abi.registers)}"
                )
            if isinstance(value, Argument) and not isinstance(value, StackArgument):
                _check_argument(value, abi)

    def check_place(self, abi: Abi, place: str) -> None:
        """Whether it can be run at ``place``, which is no function's first instruction.

        Raises:
            UsageError: It reads an argument, waits for a return, or asks for callers.
        """
        if self.returns:
            raise UsageError(f"{place} is no entry of a function: only those have returns")
        for value in self.values:
            if isinstance(value, Argument):
                raise UsageError(
                    f"{value} is an argument at a function's first instruction only: at {place} "
                    f"read registers, such as reg({abi.arguments[value.n]!r})"
                )
            if isinstance(value, Fact) and value.name in ("caller", "stack_id"):
                raise UsageError(
                    f"{value} is known at a function's first instruction only: at {place} the "
                    "return address may be anywhere"
                )

    def __repr__(self) -> str:
        when = "" if self.when is None else f", when={self.when}"
        return f"Program([{', '.join(map(repr, self.actions))}]{when})"


def _check_argument(value: Argument, abi: Abi) -> None:
    registers = len(abi.arguments)
    if value.n >= registers:
        at = abi.return_bytes + 8 * (value.n - registers)
        raise UsageError(
            f"argument {value.n} is on the stack: {registers} are in registers, 0 to "
            f"{registers - 1}; a word of the stack is reg({abi.stack_pointer!r}).deref({at})"
        )


def _needs_return(value: Value) -> bool:
    return isinstance(value, Result) or (isinstance(value, Fact) and value.name == "duration")
