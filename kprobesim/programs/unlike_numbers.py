"""``UnlikeNumbers``: what Python does with numbers, and cannot with values of a later time."""

from __future__ import annotations

from typing import Any, NoReturn

from kprobesim.errors import UsageError

__all__ = ["UnlikeNumbers"]


class UnlikeNumbers:
    """Each raises :class:`UsageError`, and says what to write instead."""

    def __bool__(self) -> bool:
        raise UsageError(
            f"{self} is known when the probe is hit, not now: combine conditions by & | ~ instead "
            "of and, or, not, each in parentheses: (arg(0) > 1) & (arg(1) == 2)"
        )

    def __int__(self) -> NoReturn:
        raise UsageError(
            f"int({self}): it is known when the probe is hit, not now: .u32, .s64 and the like "
            "say how it is to be read"
        )

    __index__ = __int__

    def __float__(self) -> NoReturn:
        raise UsageError(f"float({self}): a program has no fractions")

    def __abs__(self) -> NoReturn:
        raise UsageError(
            f"abs({self}): a program has no abs(): write select(x < 0, -x, x), of "
            "kprobesim.programs.choices, where x has a sign"
        )

    def __pow__(self, other: Any) -> NoReturn:
        raise UsageError(f"{self} ** {other}: a program has no powers: 1 << x is 2 ** x")

    def __rpow__(self, other: Any) -> NoReturn:
        raise UsageError(f"{other} ** {self}: a program has no powers: 1 << x is 2 ** x")

    def __divmod__(self, other: Any) -> NoReturn:
        raise UsageError(f"divmod({self}, {other}): give // and % a field each")

    def __truediv__(self, other: Any) -> NoReturn:
        raise UsageError(f"{self} / {other}: a program has no fractions: // divides integers")

    def __rtruediv__(self, other: Any) -> NoReturn:
        raise UsageError(f"{other} / {self}: a program has no fractions: // divides integers")

    def __contains__(self, item: Any) -> NoReturn:
        raise UsageError(f"{item!r} in {self}: a program cannot search: compare by == instead")
