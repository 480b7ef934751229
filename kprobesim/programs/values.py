"""What a program computes with: registers, arguments, memory behind pointers, facts of a hit.

A value is a tree of frozen nodes, put together with Python's operators; it is computed at each hit,
by compiled code or by :mod:`~kprobesim.programs.interpreter`, with the same result:

>>> arg(2).u32 > 4096
arg(2).u32 > 4096
>>> (arg(0) != 0) & (arg(0).deref(16).s32 < 0)
(arg(0) != 0) & (arg(0).deref(16).s32 < 0)

Integers are computed with 64 bits, modulo 2**64. ``//`` and ``%`` are Python's, ``>>`` of a signed
one keeps the sign. What cannot be computed is a fault: memory that is not there, a division by
zero. A fault spreads to whatever is computed from it, but for ``&`` and ``|`` of truths, whose
right side is only looked at if the left one does not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from numbers import Integral
from typing import Any, TypeAlias

from kprobesim.errors import UsageError
from kprobesim.programs.types import BOOL, S64, SIZES, U64, Int, Str, Type
from kprobesim.programs.unlike_numbers import UnlikeNumbers
from kprobesim.sizes import MASK64

__all__ = [
    "Cast",
    "Const",
    "Load",
    "Operation",
    "Text",
    "TextConst",
    "Value",
    "as_value",
    "operation",
]

STRING_BOUND = 64
_MAX_STRING = 4096  # as kprobe_events' MAX_STRING_SIZE, PATH_MAX
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
_OPERATORS = {*_COMPARISONS, *"+ - * // % & | ^ << >>".split()}
_WRAPS = {"+", "-", "*", "&", "|", "^"}  # a negative number beside an unsigned one is its pattern
_Operator: TypeAlias = "Callable[[Value, Any], Value]"


def _both_sides(operator: str) -> tuple[_Operator, _Operator]:
    """The methods of an operator, for a value on its left and on its right side."""
    return (
        lambda self, other: operation(operator, self, other),
        lambda self, other: operation(operator, other, self),
    )


@dataclass(frozen=True, eq=False, repr=False)
class Value(UnlikeNumbers):
    """A value; its heirs say where it comes from."""

    @property
    def type(self) -> Type:
        """What kind it is."""
        raise NotImplementedError

    @cached_property
    def shape(self) -> tuple[Any, ...]:
        """Equal for equal values: the node's class and its fields, nested."""
        own = (getattr(self, field.name) for field in fields(self))
        return type(self).__name__, *(v.shape if isinstance(v, Value) else v for v in own)

    @cached_property
    def fallible(self) -> bool:
        """Whether it may be a fault at some hit."""
        return any(value._may_fault for value in self.walk())

    _may_fault = False

    @property
    def children(self) -> Iterator[Value]:
        """The values that this one is computed from."""
        own = (getattr(self, field.name) for field in fields(self))
        return (value for value in own if isinstance(value, Value))

    def walk(self) -> Iterator[Value]:
        """This value and all that it is computed from."""
        yield self
        for child in self.children:
            yield from child.walk()

    # -- what it points to, and other widths -------------------------------------------------------

    def deref(self, offset: int = 0) -> Load:
        """The word in memory at this address and ``offset`` bytes on; ``.u8`` takes less of it."""
        _require_int(self, "a pointer")
        if not isinstance(offset, int) or not -(1 << 31) <= offset < 1 << 31:
            raise UsageError(f"offset {offset!r}: give bytes as an int of 32 bits")
        return Load(self, offset, U64)

    def uderef(self, offset: int = 0) -> Load:
        """The same of a user's memory: an address of the kernel's is a fault."""
        return replace(self.deref(offset), user=True)

    @property
    def string(self) -> Text:
        """The string at this address, up to 64 bytes; see :meth:`Text.upto`."""
        _require_int(self, "a pointer")
        return Text(self, STRING_BOUND, user=False)

    @property
    def ustring(self) -> Text:
        """The string at this address, which is a user's."""
        return replace(self.string, user=True)

    def _as(self, kind: Int) -> Value:
        _require_int(self, "an integer")
        return Cast(self, kind)

    u8 = property(lambda self: self._as(SIZES["u8"]), doc="Its low 8 bits.")
    u16 = property(lambda self: self._as(SIZES["u16"]), doc="Its low 16 bits.")
    u32 = property(lambda self: self._as(SIZES["u32"]), doc="Its low 32 bits.")
    u64 = property(lambda self: self._as(SIZES["u64"]), doc="Its 64 bits, unsigned.")
    s8 = property(lambda self: self._as(SIZES["s8"]), doc="Its low 8 bits, with a sign.")
    s16 = property(lambda self: self._as(SIZES["s16"]), doc="Its low 16 bits, with a sign.")
    s32 = property(lambda self: self._as(SIZES["s32"]), doc="Its low 32 bits, with a sign.")
    s64 = property(lambda self: self._as(SIZES["s64"]), doc="Its 64 bits, with a sign.")

    # -- operators ---------------------------------------------------------------------------------

    __add__, __radd__ = _both_sides("+")
    __sub__, __rsub__ = _both_sides("-")
    __mul__, __rmul__ = _both_sides("*")
    __floordiv__, __rfloordiv__ = _both_sides("//")
    __mod__, __rmod__ = _both_sides("%")
    __and__, __rand__ = _both_sides("&")
    __or__, __ror__ = _both_sides("|")
    __xor__, __rxor__ = _both_sides("^")
    __lshift__, __rlshift__ = _both_sides("<<")
    __rshift__, __rrshift__ = _both_sides(">>")
    __lt__, _ = _both_sides("<")
    __le__, _ = _both_sides("<=")
    __gt__, _ = _both_sides(">")
    __ge__, _ = _both_sides(">=")

    def __neg__(self) -> Value:
        return operation("-", 0, self)

    def __invert__(self) -> Value:
        return self == 0 if self.type == BOOL else operation("^", self, MASK64)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return operation("==", self, other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return operation("!=", self, other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, eq=False, repr=False)
class Const(Value):
    """A number; what it is compared or computed with says of which type."""

    number: int

    @property
    def type(self) -> Int:
        return S64 if self.number < 0 else U64

    def __str__(self) -> str:
        return str(self.number)


@dataclass(frozen=True, eq=False, repr=False)
class TextConst(Value):
    """Bytes that a text is compared with."""

    data: bytes

    @property
    def type(self) -> Str:
        return Str(len(self.data) + 1)

    def __str__(self) -> str:
        return repr(self.data.decode("utf-8", "backslashreplace"))


@dataclass(frozen=True, eq=False, repr=False)
class Load(Value):
    """An integer in guest memory, or with ``user`` in that of a user's program alone."""

    address: Value
    offset: int
    kind: Int
    user: bool = False
    _may_fault = True

    @property
    def type(self) -> Int:
        return self.kind

    def _as(self, kind: Int) -> Value:
        return replace(self, kind=kind) if self.kind == U64 else super()._as(kind)

    def __str__(self) -> str:
        width = "" if self.kind == U64 else f".{self.kind}"
        deref = "uderef" if self.user else "deref"
        return f"{_nested(self.address)}.{deref}({self.offset or ''}){width}"


@dataclass(frozen=True, eq=False, repr=False)
class Cast(Value):
    """The low bits of an integer."""

    value: Value
    kind: Int

    @property
    def type(self) -> Int:
        return self.kind

    def __str__(self) -> str:
        return f"{_nested(self.value)}.{self.kind}"


@dataclass(frozen=True, eq=False, repr=False)
class Text(Value):
    """A string in guest memory, of ``bound`` - 1 bytes at most.

    ``nonempty``: an empty one of a user's is a fault, as for ``strncpy_from_user_nofault()``.
    """

    address: Value
    bound: int
    user: bool
    nonempty: bool = False
    _may_fault = True

    @property
    def type(self) -> Str:
        return Str(self.bound)

    def upto(self, bound: int) -> Text:
        """The same string, of which ``bound`` bytes are kept, the NUL among them: 2 to 4096."""
        if isinstance(bound, int) and 2 <= bound <= _MAX_STRING:
            return replace(self, bound=bound)
        raise UsageError(f"a string of {bound!r} bytes: give 2 to {_MAX_STRING}")

    def __str__(self) -> str:
        text = f"{_nested(self.address)}.{'u' if self.user else ''}string"
        return text if self.bound == STRING_BOUND else f"{text}.upto({self.bound})"


@dataclass(frozen=True, eq=False, repr=False)
class Operation(Value):
    """Two values and what is made of them: ``+ - * // % & | ^ << >>`` or a comparison."""

    operator: str
    left: Value
    right: Value
    kind: Int

    @property
    def type(self) -> Int:
        return self.kind

    @property
    def is_lazy(self) -> bool:
        """Whether the right side is only looked at if the left one does not decide."""
        return self.kind == BOOL and self.operator in ("&", "|")

    @property
    def _may_fault(self) -> bool:  # type: ignore[override]
        return self.operator in ("//", "%")

    @property
    def compares_signed(self) -> bool:
        """Whether both sides are meant as signed numbers."""
        sides = self.left, self.right
        kinds = [side.type for side in sides if not isinstance(side, Const)]
        kinds = kinds or [side.type for side in sides]
        return any(isinstance(kind, Int) and kind.signed for kind in kinds)

    def __str__(self) -> str:
        return f"{_nested(self.left)} {self.operator} {_nested(self.right)}"


def _nested(value: Value) -> str:
    return f"({value})" if isinstance(value, Operation) else str(value)


def as_value(thing: Any, what: str = "a value") -> Value:
    """``thing`` as a value: numbers and texts are constants.

    Raises:
        UsageError: It is something else, or a number of more than 64 bits.
    """
    if isinstance(thing, Value):
        return thing
    if isinstance(thing, Integral):  # numpy's are, too; a live counter is not
        number = int(thing)
        if not -(1 << 63) <= number <= MASK64:
            raise UsageError(f"{number:#x} has more than 64 bits")
        return Const(number)
    if isinstance(thing, (str, bytes)):
        try:
            data = thing.encode() if isinstance(thing, str) else thing
        except UnicodeEncodeError:
            raise UsageError(f"{thing!r} is no text: give its bytes, as in b'\\xff'") from None
        if b"\0" in data or len(data) >= _MAX_STRING:
            raise UsageError(f"{thing!r} is no string of a kernel: it has a NUL, or 4096 bytes")
        return TextConst(data)
    raise UsageError(
        f"{thing!r} is of type {type(thing).__name__}, not {what}: give arg(0), comm ... "
        "of kprobesim.programs, or a number"
    )


def _require_int(value: Value, what: str) -> None:
    if isinstance(value.type, Str):
        raise UsageError(f"{value} is a string, and {what} is needed")


def operation(operator: str, left: Any, right: Any) -> Value:
    """What Python's ``operator`` makes of two values.

    Raises:
        UsageError: Their types do not fit, or there is no such operator.
    """
    if operator not in _OPERATORS:
        raise UsageError(f"{operator!r} is no operator of values")
    left, right = as_value(left), as_value(right)
    one, other = left.type, right.type
    if isinstance(one, Str) or isinstance(other, Str):
        if not (isinstance(one, Str) and isinstance(other, Str)) or operator not in ("==", "!="):
            raise UsageError(
                f"{left} {operator} {right}: the types {one} and {other} do not fit (strings can "
                "be compared with strings, by == and !=)"
            )
        return Operation(operator, left, right, BOOL)
    if operator in ("&", "|", "^") and BOOL in (one, other):
        if one != other:
            raise UsageError(
                f"({left}) {operator} ({right}): the types {one} and {other} do not fit: make a "
                "condition of both, as in (arg(0) != 0) & (arg(1) > 2)"
            )
        return Operation(operator, left, right, BOOL)
    if operator in ("<<", ">>"):
        if isinstance(right, Const) and not 0 <= right.number < 64:
            raise UsageError(f"{left} {operator} {right}: shift by 0 to 63 bits")
        return Operation(operator, left, right, S64 if one.signed else U64)
    signed = _is_signed(operator, left, right)
    kind = BOOL if operator in _COMPARISONS else S64 if signed else U64
    return Operation(operator, left, right, kind)


def _is_signed(operator: str, left: Value, right: Value) -> bool:
    """Whether two integers are computed with as signed ones."""
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Const) and not isinstance(other, Const):
            kind = other.type
            assert isinstance(kind, Int)
            fits = value.number < 1 << 63 if kind.signed else value.number >= 0
            if not fits and operator not in _WRAPS:
                raise UsageError(
                    f"{left} {operator} {right}: {value} is no {kind} (.s64 and .u64 say how a "
                    "value is meant)"
                )
            return kind.signed
    one, other_kind = left.type, right.type
    assert isinstance(one, Int)
    assert isinstance(other_kind, Int)
    if one.signed != other_kind.signed and operator not in (*_WRAPS, "==", "!="):
        unsigned = other_kind if one.signed else one
        if unsigned.bits == 64:
            raise UsageError(
                f"{left} {operator} {right}: the types {one} and {other_kind} do not fit: say how "
                "both are meant, by .s64 or .u64"
            )
    return one.signed or other_kind.signed
