"""A program without a compiler: the same, as a function of Python that a hit calls.

It computes what the compiled code computes, value by value; that is the definition of a program,
and what the compiler is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from kprobesim.errors import GuestMemoryError
from kprobesim.programs.actions import Action, Count, Record
from kprobesim.programs.appending import Append
from kprobesim.programs.by_python import ByPython
from kprobesim.programs.calling import Call
from kprobesim.programs.choices import OrElse, Select
from kprobesim.programs.fault import FAULT
from kprobesim.programs.leaves import Argument, Fact, Register, Result, StackArgument
from kprobesim.programs.matching import Length, Matches
from kprobesim.programs.program import Program
from kprobesim.programs.stores.entry_layout import NO_STAMP, Stamp
from kprobesim.programs.types import AT_PLACE, Int
from kprobesim.programs.values import Cast, Const, Load, Operation, Text, TextConst, Value
from kprobesim.sizes import MASK64

__all__ = ["Compute", "Surroundings", "interpret"]

Compute = Callable[[Any, int], Any]
"""``compute(regs, here)``: a value at a hit: an int, bytes of a string, or ``FAULT``."""
_WORD = Int(64)
_NUL = b"\0"


class Surroundings(Protocol):
    """What a program is told of its guest, beside registers."""

    def read(self, address: int, size: int) -> bytes:
        """Guest memory; raises :class:`GuestMemoryError`."""

    def fact(self, name: str) -> Callable[[], Any]:
        """What tells a fact that is neither in registers nor in the hit itself, or ``FAULT``."""

    def fact_at(self, name: str) -> Callable[[Any, int], Any]:
        """What tells a fact of the place that the CPU is at, by registers and place."""


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "//": lambda one, other: one // other,
    "%": lambda one, other: one % other,
    "&": lambda one, other: one & other,
    "|": lambda one, other: one | other,
    "^": lambda one, other: one ^ other,
    "<<": lambda one, other: one << other if other < 64 else 0,
    ">>": lambda one, other: one >> min(other, 64),
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


class _Values:
    """Makes functions of values."""

    def __init__(self, surroundings: Surroundings, of_call: Collection[str] = ()) -> None:
        self._of = surroundings
        self._of_call = of_call
        self._make: dict[type[Value], Callable[[Any], Compute]] = {
            Argument: lambda value: lambda regs, here: regs.arg(value.n),
            ByPython: self._by_python,
            Cast: self._cast,
            Const: lambda value: lambda regs, here: value.number,
            Fact: self._fact,
            Length: self._length,
            Load: self._load,
            Matches: self._matches,
            Operation: self._operation,
            OrElse: self._or_else,
            Register: lambda value: lambda regs, here: getattr(regs, value.name),
            Result: lambda value: lambda regs, here: regs.return_value,
            Select: self._select,
            StackArgument: self._stack_argument,
            Text: self._text,
            TextConst: lambda value: lambda regs, here: value.data,
        }

    def make(self, value: Value) -> Compute:
        """The function that computes ``value``."""
        return self._make[type(value)](value)

    def _by_python(self, value: ByPython) -> Compute:
        of, function = [self.make(each) for each in value.values], value.function
        return lambda regs, here: function(*(each(regs, here) for each in of))

    def _cast(self, value: Cast) -> Compute:
        of, narrow = self.make(value.value), value.kind.narrow

        def cast(regs: Any, here: int) -> Any:
            number = of(regs, here)
            return FAULT if number is FAULT else narrow(number)

        return cast

    def _fact(self, value: Fact) -> Compute:
        if value.name == "here":
            return lambda regs, here: here
        if value.name in self._of_call:
            name = value.name
            return lambda call, here: getattr(call, name)
        if value.name in AT_PLACE:
            return self._of.fact_at(value.name)
        fact = self._of.fact(value.name)
        return lambda regs, here: fact()

    def _load(self, value: Load) -> Compute:
        of, offset, read = self.make(value.address), value.offset, self._of.read
        size, signed, user = value.kind.size, value.kind.signed, value.user

        def load(regs: Any, here: int) -> Any:
            address = of(regs, here)
            if address is FAULT or (user and _is_kernels(address + offset)):
                return FAULT
            try:
                data = read(address + offset & MASK64, size)
            except GuestMemoryError:
                return FAULT
            return int.from_bytes(data, "little", signed=signed)

        return load

    def _text(self, value: Text) -> Compute:
        of, bound, read = self.make(value.address), value.bound, self._of.read
        user = value.user

        def text(regs: Any, here: int) -> Any:
            address = of(regs, here)
            if address is FAULT or (user and _is_kernels(address)):
                return FAULT
            found = b""
            try:
                while _NUL not in found and len(found) < bound - 1:
                    at = address + len(found) & MASK64
                    found += read(at, min(bound - 1 - len(found), 64 - at % 64))
            except GuestMemoryError:
                return FAULT
            whole = found.split(_NUL, 1)[0]
            is_fault = value.nonempty and not whole and not _is_kernels(address)
            return FAULT if is_fault else whole

        return text

    def _length(self, value: Length) -> Compute:
        of = self.make(value.text)

        def length(regs: Any, here: int) -> Any:
            text = of(regs, here)
            return 0 if text is FAULT else len(text)

        return length

    def _matches(self, value: Matches) -> Compute:
        of, pattern = self.make(value.text), value.pattern

        def matched(regs: Any, here: int) -> Any:
            text = of(regs, here)
            return int(pattern.matches(b"" if text is FAULT else text))

        return matched

    def _stack_argument(self, value: StackArgument) -> Compute:
        def argument(regs: Any, here: int) -> Any:
            try:
                return regs.arg(value.n)
            except GuestMemoryError:
                return 0

        return argument

    def _or_else(self, value: OrElse) -> Compute:
        of, number = self.make(value.value), value.number

        def known(regs: Any, here: int) -> Any:
            found = of(regs, here)
            return number if found is FAULT else found

        return known

    def _select(self, value: Select) -> Compute:
        condition, yes, no = map(self.make, (value.condition, value.yes, value.no))
        narrow = value.kind.narrow

        def chosen(regs: Any, here: int) -> Any:
            met = condition(regs, here)
            if met is FAULT:
                return FAULT
            found = (yes if met else no)(regs, here)
            return FAULT if found is FAULT else narrow(found)

        return chosen

    # -- operations --------------------------------------------------------------------------------

    def _operation(self, value: Operation) -> Compute:
        left, right = self.make(value.left), self.make(value.right)
        if value.is_lazy:
            return self._lazy(left, right, decides=value.operator == "|")
        if not isinstance(value.left.type, Int):
            return self._compare(_COMPARE[value.operator], left, right, lambda text: text)
        if value.operator in _COMPARE:
            kind = Int(64, value.compares_signed)
            return self._compare(_COMPARE[value.operator], left, right, kind.narrow)
        return self._compute(value, left, right)

    def _lazy(self, left: Compute, right: Compute, *, decides: bool) -> Compute:
        def both(regs: Any, here: int) -> Any:
            first = left(regs, here)
            if first is FAULT or bool(first) is decides:
                return first
            return right(regs, here)

        return both

    def _compare(
        self, compare: Callable[[Any, Any], bool], left: Compute, right: Compute, narrow: Any
    ) -> Compute:
        def compared(regs: Any, here: int) -> Any:
            one, other = left(regs, here), right(regs, here)
            if one is FAULT or other is FAULT:
                return FAULT
            return int(compare(narrow(one), narrow(other)))

        return compared

    def _compute(self, value: Operation, left: Compute, right: Compute) -> Compute:
        kind, apply = value.kind, _ARITHMETIC[value.operator]
        shifts, divides = value.operator in ("<<", ">>"), value.operator in ("//", "%")
        narrow = Int(64, kind.signed).narrow
        narrow_right = _WORD.narrow if shifts else narrow

        def computed(regs: Any, here: int) -> Any:
            one, other = left(regs, here), right(regs, here)
            if one is FAULT or other is FAULT or (divides and not other):
                return FAULT
            return kind.narrow(apply(narrow(one), narrow_right(other)))

        return computed


def _is_kernels(address: int) -> bool:
    """What ``access_ok()`` refuses: bit 55 says which half it is, whatever a tag does to bit 63."""
    return bool(address >> 55 & 1)


def interpret(
    program: Program,
    surroundings: Surroundings,
    stores: Sequence[Any],
    count: Callable[[str], None],
) -> Callable[[Any, int], None]:
    """``run(regs, here)``: do at a hit what ``program`` says.

    For a return program ``regs`` are a :class:`~kprobesim.programs.return_probe.ReturnedCall`.

    Args:
        program: The program.
        surroundings: Its guest.
        stores: What its actions keep, in their order.
        count: Counts "hits" and "faults".
    """
    values = _Values(surroundings, ("caller", "duration", *AT_PLACE) if program.returns else ())
    when = None if program.when is None else values.make(program.when)
    actions = [
        _action(action, store, values, count)
        for action, store in zip(program.actions, stores, strict=True)
    ]

    def run(regs: Any, here: int) -> None:
        if when is not None:
            met = when(regs, here)
            if met is FAULT:
                count("faults")
                return
            if not met:
                return
        count("hits")
        for act in actions:
            act(regs, here)

    return run


def _action(
    action: Action, store: Any, values: _Values, count: Callable[[str], None]
) -> Callable[[Any, int], None]:
    if isinstance(action, Append):
        return _append(action, store, values)
    if isinstance(action, Call):
        return _call(action, store, values)
    if isinstance(action, Record):
        fields = [values.make(value) for value in action.values]

        def record(regs: Any, here: int) -> None:
            store.append([field(regs, here) for field in fields])

        return record
    parts = [values.make(value) for value in action.key]  # type: ignore[attr-defined]
    one: Compute = lambda regs, here: 1  # noqa: E731
    of = one if isinstance(action, Count) else values.make(action.value)  # type: ignore[attr-defined]

    def keep(regs: Any, here: int) -> None:
        value = of(regs, here)
        if value is FAULT:
            count("faults")
        else:
            store.add([part(regs, here) for part in parts], value)

    return keep


def _append(action: Append, outlet: Any, values: _Values) -> Callable[[Any, int], None]:
    fields = [values.make(value) for value in action.fields]
    when = None if action.when is None else values.make(action.when)
    facts = [values.make(Fact(name)) for name in Stamp._fields] if action.stream.stamped else []

    def append(regs: Any, here: int) -> None:
        if when is not None:
            met = when(regs, here)
            if met is FAULT or not met:
                return
        stamp = Stamp(*(fact(regs, here) for fact in facts)) if facts else NO_STAMP
        found = [field(regs, here) for field in fields]
        outlet.append(found, stamp, after_others=action.after_others)

    return append


def _call(action: Call, callback: Any, values: _Values) -> Callable[[Any, int], None]:
    when = None if action.when is None else values.make(action.when)

    def call(regs: Any, here: int) -> None:
        met = True if when is None else when(regs, here)
        if met is not FAULT and met:
            callback.call()

    return call
