"""``Operators``: what Python computes with integers, for values that are numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

__all__ = ["Operators"]

_Method = Callable[["Operators", Any], Any]


def _both(compute: Callable[[Any, Any], Any]) -> tuple[_Method, _Method]:
    """The methods of an operator, for a value on its left and on its right side."""

    def left(self: Operators, other: Any) -> Any:
        number = _number(other)
        return NotImplemented if number is None else compute(self._operand(), number)

    def right(self: Operators, other: Any) -> Any:
        number = _number(other)
        return NotImplemented if number is None else compute(number, self._operand())

    return left, right


def _compare(compute: Callable[[Any, Any], Any]) -> _Method:
    return _both(compute)[0]


def _number(thing: Any) -> int | float | None:
    if isinstance(thing, Operators):
        return thing._operand()
    return thing if isinstance(thing, (int, float)) else None


class Operators:
    """Whatever is computed is a number of Python's, of any size."""

    __slots__ = ()

    def _operand(self) -> int | float:
        raise NotImplementedError

    __add__, __radd__ = _both(operator.add)
    __sub__, __rsub__ = _both(operator.sub)
    __mul__, __rmul__ = _both(operator.mul)
    __truediv__, __rtruediv__ = _both(operator.truediv)
    __floordiv__, __rfloordiv__ = _both(operator.floordiv)
    __mod__, __rmod__ = _both(operator.mod)
    __and__, __rand__ = _both(operator.and_)
    __or__, __ror__ = _both(operator.or_)
    __xor__, __rxor__ = _both(operator.xor)
    __lshift__, __rlshift__ = _both(operator.lshift)
    __rshift__, __rrshift__ = _both(operator.rshift)
    __lt__ = _compare(operator.lt)
    __le__ = _compare(operator.le)
    __gt__ = _compare(operator.gt)
    __ge__ = _compare(operator.ge)

    def __eq__(self, other: object) -> Any:
        number = _number(other)
        return NotImplemented if number is None else self._operand() == number

    def __hash__(self) -> int:
        return hash(self._operand())

    def __neg__(self) -> Any:
        return -self._operand()

    def __pos__(self) -> Any:
        return self._operand()

    def __invert__(self) -> Any:
        return ~int(self._operand())

    def __abs__(self) -> Any:
        return abs(self._operand())

    def __int__(self) -> int:
        return int(self._operand())

    def __float__(self) -> float:
        return float(self._operand())

    def __bool__(self) -> bool:
        return bool(self._operand())

    def __index__(self) -> int:
        return operator.index(self._operand())  # type: ignore[arg-type]
