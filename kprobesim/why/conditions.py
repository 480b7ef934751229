"""What condition codes mean, by x86-64's and ARM64's names for them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RELATIONS", "holds", "opposite", "plain"]

_Flags = tuple[bool, bool, bool, bool]
"""Negative (sign), zero, carry as a borrow (x86's CF), overflow."""

_BY_FLAGS: dict[str, Callable[[bool, bool, bool, bool], bool]] = {
    "e": lambda n, z, b, v: z,
    "ne": lambda n, z, b, v: not z,
    "s": lambda n, z, b, v: n,
    "ns": lambda n, z, b, v: not n,
    "b": lambda n, z, b, v: b,
    "ae": lambda n, z, b, v: not b,
    "be": lambda n, z, b, v: b or z,
    "a": lambda n, z, b, v: not b and not z,
    "l": lambda n, z, b, v: n != v,
    "ge": lambda n, z, b, v: n == v,
    "le": lambda n, z, b, v: z or n != v,
    "g": lambda n, z, b, v: not z and n == v,
    "o": lambda n, z, b, v: v,
    "no": lambda n, z, b, v: not v,
}
_SAME = {
    "eq": "e", "cs": "ae", "cc": "b", "z": "e", "nz": "ne", "mi": "s", "pl": "ns", "lo": "b",
    "hs": "ae", "c": "b", "nc": "ae", "ls": "be", "hi": "a", "lt": "l",
    "gt": "g", "vs": "o", "vc": "no",
}  # fmt: skip
RELATIONS = {
    "e": "==", "ne": "!=", "b": "<", "ae": ">=", "be": "<=", "a": ">",
    "l": "<", "ge": ">=", "le": "<=", "g": ">", "s": "< 0", "ns": ">= 0",
}  # fmt: skip
"""What each says of two values that were compared."""
_OPPOSITE = {
    "e": "ne", "b": "ae", "be": "a", "l": "ge", "le": "g", "s": "ns", "o": "no", "p": "np",
}  # fmt: skip
_OPPOSITE |= {value: key for key, value in _OPPOSITE.items()}


def plain(condition: str) -> str:
    """x86-64's name of it."""
    return _SAME.get(condition, condition)


def opposite(condition: str) -> str:
    """What holds where ``condition`` does not, by x86-64's name; "" if it has none here."""
    return _OPPOSITE.get(plain(condition), "")


def holds(condition: str, first: int, second: int, size: int, *, both: bool = False) -> bool | None:
    """Whether ``condition`` holds behind a comparison of two values of ``size`` bytes.

    Args:
        condition: By either architecture's name.
        first: The value that ``second`` is subtracted from.
        second: That one.
        size: How many bytes of both count.
        both: They are not subtracted: flags tell of ``first & second``, as TEST's do.

    Returns:
        ``None`` where the condition is none of comparisons.
    """
    decide = _BY_FLAGS.get(plain(condition))
    if decide is None:
        return None
    bits = 8 * size
    mask = (1 << bits) - 1
    first, second = first & mask, second & mask
    if both:
        value = first & second
        return decide(bool(value >> bits - 1), not value, False, False)
    value = (first - second) & mask
    signed = _signed(first, bits) - _signed(second, bits)
    overflow = not -(1 << bits - 1) <= signed < 1 << bits - 1
    return decide(bool(value >> bits - 1), not value, first < second, overflow)


def _signed(value: int, bits: int) -> int:
    return value - (value >> bits - 1 << bits)
