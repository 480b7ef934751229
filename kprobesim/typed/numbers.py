"""Numbers as types say that they lie in memory: integers, enums, pointers, floats, bit fields."""

from __future__ import annotations

import struct

from kprobesim.types.model import Enum, Float, Int, Pointer, Type

__all__ = ["is_number", "narrowed", "number_in"]

_FLOATS = {4: "<f", 8: "<d"}


def is_number(type: Type) -> bool:
    """Whether what is of ``type``, without its typedefs, is one number."""
    return isinstance(type, (Int, Enum, Pointer, Float))


def number_in(type: Type, data: bytes, start: int = 0, width: int = 0) -> int | float:
    """The number that ``data`` begins with.

    Args:
        type: Of which kind, without its typedefs.
        data: At least as many bytes as it takes.
        start: The bit at which a bit field starts.
        width: The bits that a bit field has; 0: it is none.
    """
    size = type.size or 0
    if isinstance(type, Float) and size in _FLOATS:
        number: float = struct.unpack_from(_FLOATS[size], data)[0]
        return number
    if isinstance(type, Int) and not width and type.bits != 8 * size:  # before Linux 5.0
        start, width = type.bit_offset, type.bits
    raw = int.from_bytes(data[: size if not width else len(data)], "little")
    bits = width or 8 * size
    return _signed(raw >> start & (1 << bits) - 1, bits, type)


def narrowed(type: Type, number: int) -> int:
    """``number`` as an object of ``type`` would hold it."""
    bits = 8 * (type.size or 8)
    return _signed(number & (1 << bits) - 1, bits, type)


def _signed(number: int, bits: int, type: Type) -> int:
    signed = isinstance(type, (Int, Enum)) and type.is_signed
    return number - (1 << bits) if signed and number >> bits - 1 else number
