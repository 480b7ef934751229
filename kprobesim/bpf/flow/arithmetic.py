"""What operations and comparisons of eBPF make of known numbers.

Documentation/bpf/standardization/instruction-set.rst: operations of 32 bits clear the upper half;
a division by 0 gives 0, and its remainder is what was divided.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.sizes import MASK32, MASK64

__all__ = ["MOVE", "SWAP", "calculate", "compare", "sign_extended"]

ADD, SUBTRACT = 0x00, 0x10
NEGATE, MOVE, SWAP = 0x80, 0xB0, 0xD0


def sign_extended(number: int, bits: int) -> int:
    """The lowest ``bits`` as a number with a sign, in 64 bits without one."""
    return _signed(number, bits) & MASK64


def _signed(number: int, bits: int) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> bits - 1 else number


_OPERATIONS: dict[int, Callable[[int, int, int], int]] = {
    ADD: lambda a, b, bits: a + b,
    SUBTRACT: lambda a, b, bits: a - b,
    0x20: lambda a, b, bits: a * b,
    0x30: lambda a, b, bits: a // b if b else 0,
    0x40: lambda a, b, bits: a | b,
    0x50: lambda a, b, bits: a & b,
    0x60: lambda a, b, bits: a << (b & bits - 1),
    0x70: lambda a, b, bits: a >> (b & bits - 1),
    NEGATE: lambda a, b, bits: -a,
    0x90: lambda a, b, bits: a % b if b else a,
    0xA0: lambda a, b, bits: a ^ b,
    MOVE: lambda a, b, bits: b,
    0xC0: lambda a, b, bits: _signed(a, bits) >> (b & bits - 1),
}


def calculate(operation: int, left: int, right: int, bits: int) -> int | None:
    """``left operation right`` in 32 or 64 bits; ``None`` if there is no such operation.

    The operation is the code's upper half.
    """
    mask = MASK32 if bits == 32 else MASK64
    how = _OPERATIONS.get(operation)
    return None if how is None else how(left & mask, right & mask, bits) & mask


_COMPARISONS: dict[int, Callable[[int, int, int], bool]] = {
    0x10: lambda a, b, bits: a == b,
    0x20: lambda a, b, bits: a > b,
    0x30: lambda a, b, bits: a >= b,
    0x40: lambda a, b, bits: bool(a & b),
    0x50: lambda a, b, bits: a != b,
    0x60: lambda a, b, bits: _signed(a, bits) > _signed(b, bits),
    0x70: lambda a, b, bits: _signed(a, bits) >= _signed(b, bits),
    0xA0: lambda a, b, bits: a < b,
    0xB0: lambda a, b, bits: a <= b,
    0xC0: lambda a, b, bits: _signed(a, bits) < _signed(b, bits),
    0xD0: lambda a, b, bits: _signed(a, bits) <= _signed(b, bits),
}


def compare(operation: int, left: int, right: int, bits: int) -> bool | None:
    """Whether a jump is taken; ``None`` for one that does not compare."""
    mask = MASK32 if bits == 32 else MASK64
    how = _COMPARISONS.get(operation)
    return None if how is None else how(left & mask, right & mask, bits)
