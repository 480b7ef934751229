"""``Invariant``: what must hold after each run, as a short text: ``a != b and u32(count) == 2``.

It is read, never evaluated as Python. Names are those of the CPUs' calls, whose value is what they
have returned (``b[1]``: the second of several calls), of memory that was given one, and of symbols,
whose value is their address. ``u8 u16 u32 u64`` and ``s8 ... s64`` of an address read the guest's
memory; ``s32(a)`` of a result is its signed value. An error's name is its number: ``-ENOMEM``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, NoReturn

from kprobesim.errno_names import errno_number
from kprobesim.errors import GuestMemoryError, UsageError

__all__ = ["Invariant"]

_Results = Mapping[str, Any]
_Value = Callable[[_Results], Any]

_MOST_TEXT = 1 << 12
_SHOWN = 200  # characters of it, in an error
_DEEPEST = 150  # of operations within each other, and of terms in a row
_MOST_BITS = 256  # of a number on the way: nobody means more, and 1 << (1 << 60) would never end

_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_NO_VALUE = ArithmeticError, ValueError, GuestMemoryError
_SIZES = {f"{kind}{8 * size}": (size, kind == "s") for kind in "us" for size in (1, 2, 4, 8)}


@dataclass(frozen=True)
class Invariant:
    """What must hold after each run.

    Attributes:
        text: As it was written.
        places: Addresses of memory by the names that the text may use.
    """

    text: str
    places: Mapping[str, int] = field(default_factory=dict)

    def of(
        self,
        read: Callable[[int, int], bytes],
        address_of: Callable[[str], int | None],
        counts: Mapping[str, int],
    ) -> Callable[[_Results], object]:
        """What is to be called with the results of a run: true, or a text that says what is wrong.

        Args:
            read: The guest's memory: an address and a size give bytes.
            address_of: The address of a symbol; ``None``: there is none of that name.
            counts: How many calls each CPU makes, by its name.

        Raises:
            UsageError: The text is no expression, or names what is not there.
        """
        return _Compiler(self, read, address_of, counts).compile()


class _Compiler:
    """Makes closures of a parsed text."""

    def __init__(
        self,
        given: Invariant,
        read: Callable[[int, int], bytes],
        address_of: Callable[[str], int | None],
        counts: Mapping[str, int],
    ) -> None:
        self._text, self._places = given.text.strip(), given.places
        self._read, self._address_of, self._counts = read, address_of, counts
        self._memory: dict[str, _Value] = {}  # what is read, to tell what was there
        self._depth = 0

    def compile(self) -> Callable[[_Results], object]:
        text, memory = self._text, self._memory
        if len(text) > _MOST_TEXT:
            raise UsageError(f"the invariant has more than {_MOST_TEXT} characters")
        try:
            parsed = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = getattr(error, "msg", None) or str(error)
            self._fail(f"it is no expression ({why}): write one such as 'a != b'")
        holds = self._value(parsed)

        def check(results: _Results) -> object:
            try:
                if holds(results):
                    return True
            except _NO_VALUE as error:
                return f"{text} has no value: {error}"
            found = [f"{name} = {_shown(value)}" for name, value in results.items()]
            found += [f"{name} = {_shown_of(value, results)}" for name, value in memory.items()]
            return f"{text} does not hold: {', '.join(found)}"

        return check

    def _fail(self, problem: str) -> NoReturn:
        raise UsageError(f"the invariant {shorten(self._text, _SHOWN)!r}: {problem}")

    def _value(self, node: ast.expr) -> _Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"it has more than {_DEEPEST} operations within each other")
        made = getattr(self, f"_{type(node).__name__.lower()}", None)
        if made is None:
            self._fail(
                f"{ast.unparse(node)!r} is none of numbers, names, arithmetic, comparisons, "
                "and, or, not, u32(address)"
            )
        value: _Value = made(node)
        self._depth -= 1
        return value

    # -- one method a kind of node -----------------------------------------------------------------

    def _constant(self, node: ast.Constant) -> _Value:
        number = node.value
        if type(number) not in (int, bool):
            self._fail(f"{number!r} is no whole number")
        return lambda _: number

    def _name(self, node: ast.Name) -> _Value:
        name = node.id
        if name in self._counts:
            return lambda results: results[name]
        address = self._places.get(name)
        if address is None:
            address = self._address_of(name)
        number = errno_number(name) if address is None else address
        if number is None:
            self._fail(
                f"there is no {name}: the results are {', '.join(self._counts)}, and it is no "
                "memory that has a name, no symbol and no error"
            )
        return lambda _: number

    def _subscript(self, node: ast.Subscript) -> _Value:
        of, index = node.value, node.slice
        count = self._counts.get(of.id, 1) if isinstance(of, ast.Name) else 1
        if count < 2 or not isinstance(index, ast.Constant) or type(index.value) is not int:
            self._fail(f"{ast.unparse(node)!r}: write b[1] for the second result of several calls")
        name, number = ast.unparse(of), index.value
        if number >= count:
            self._fail(f"{name} makes {count} calls: the last result is {name}[{count - 1}]")
        return lambda results: results[name][number]

    def _binop(self, node: ast.BinOp) -> _Value:
        left, right = self._value(node.left), self._value(node.right)
        compute = _ARITHMETIC.get(type(node.op))
        if compute is None:
            self._fail(f"{ast.unparse(node)!r}: the operators are + - * // % & | ^ << >>")
        shifts = isinstance(node.op, ast.LShift)

        def value(results: _Results) -> Any:
            a, b = self._number(left, results), self._number(right, results)
            if shifts and b > _MOST_BITS:
                raise ArithmeticError(f"a shift by {b}")
            made = compute(a, b)
            if made.bit_length() > _MOST_BITS:
                raise ArithmeticError("a number is too large")
            return made

        return value

    def _unaryop(self, node: ast.UnaryOp) -> _Value:
        of, compute = self._value(node.operand), _SIGNS[type(node.op)]
        if isinstance(node.op, ast.Not):
            return lambda results: compute(of(results))
        return lambda results: compute(self._number(of, results))

    def _boolop(self, node: ast.BoolOp) -> _Value:
        values = [self._value(each) for each in node.values]
        both = all if isinstance(node.op, ast.And) else any
        return lambda results: both(value(results) for value in values)

    def _compare(self, node: ast.Compare) -> _Value:
        values = [self._value(each) for each in (node.left, *node.comparators)]
        tests = [_COMPARISONS.get(type(op)) for op in node.ops]
        if None in tests:
            self._fail(f"{ast.unparse(node)!r}: the comparisons are == != < <= > >=")

        def value(results: _Results) -> bool:
            found = [self._number(each, results) for each in values]
            pairs = zip(tests, found[:-1], found[1:], strict=True)
            return all(test(a, b) for test, a, b in pairs if test is not None)

        return value

    def _call(self, node: ast.Call) -> _Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _SIZES or len(node.args) != 1 or node.keywords:
            known = ", ".join(_SIZES)
            self._fail(f"{ast.unparse(node)!r}: the functions are {known}, of one value")
        (of,) = node.args
        value, (size, signed) = self._value(of), _SIZES[name]
        if self._is_result(of):
            return lambda results: _cut(self._number(value, results), size, signed)
        read = self._read

        def loaded(results: _Results) -> int:
            data = read(self._number(value, results), size)
            return int.from_bytes(data, "little", signed=signed)

        self._memory[ast.unparse(node)] = loaded
        return loaded

    def _is_result(self, node: ast.expr) -> bool:
        """Whether it is a number to be cut, not an address: no place is named in it."""
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        return bool(names) and names <= {*self._counts, *_SIZES}

    def _number(self, value: _Value, results: _Results) -> int:
        found = value(results)
        if not isinstance(found, int):
            raise ArithmeticError(f"{found} are several results, of which [0] is the first")
        return found


def _cut(number: int, size: int, signed: bool) -> int:
    data = (number & (1 << 8 * size) - 1).to_bytes(size, "little")
    return int.from_bytes(data, "little", signed=signed)


def _shown_of(value: _Value, results: _Results) -> str:
    try:
        return _shown(value(results))
    except _NO_VALUE as error:
        return f"nothing ({error})"


def _shown(value: Any) -> str:
    if isinstance(value, int):
        return hex(value) if value > 1 << 16 else str(value)
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else str(value)
