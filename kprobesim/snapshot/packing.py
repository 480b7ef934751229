"""Plain values and bytes as sections: JSON that knows bytes, packed with zstandard."""

from __future__ import annotations

import base64
import json
import sys
from array import array
from typing import Any, Literal

import zstandard

__all__ = [
    "PackingError",
    "pack",
    "pack_value",
    "pack_words",
    "unpack",
    "unpack_value",
    "unpack_words",
]

_LIMIT = 1 << 30  # no section unpacks to more
_VALUE_LIMIT = 32 << 20  # JSON takes up to twenty times as much memory
_LEVEL = 3
_BYTES = "base64"  # a dict with this one key stands for bytes


class PackingError(Exception):
    """Packed data that is damaged, or would unpack to more than any snapshot has."""


def pack(data: bytes) -> bytes:
    """``data``, packed; it must be shorter than 1 GiB."""
    if len(data) > _LIMIT:
        raise PackingError(f"{len(data)} bytes are too many for a section")
    return zstandard.ZstdCompressor(level=_LEVEL).compress(data)


def unpack(packed: memoryview | bytes, size: int | None = None, *, limit: int = _LIMIT) -> bytes:
    """What :func:`pack` was given.

    Args:
        packed: The section.
        size: How many bytes that must be, if known.
        limit: How many it may be at most.

    Raises:
        PackingError: It is damaged, or of another size.
    """
    try:
        found = zstandard.frame_content_size(packed)
        if not 0 <= found <= limit or (size is not None and found != size):
            raise PackingError(f"it would unpack to {found} bytes")
        data = zstandard.ZstdDecompressor().decompress(packed)
    except (zstandard.ZstdError, MemoryError) as error:
        raise PackingError(str(error)) from error
    if len(data) != found:
        raise PackingError(f"it unpacks to {len(data)} bytes instead of {found}")
    return data


def pack_words(numbers: array[int]) -> bytes:
    """``numbers``, of type "I" or "Q", packed with their lowest byte first."""
    copy = array(numbers.typecode, numbers)
    if sys.byteorder == "big":
        copy.byteswap()
    return pack(copy.tobytes())


def unpack_words(
    kind: Literal["I", "Q"], packed: memoryview | bytes, count: int | None = None
) -> array[int]:
    """What :func:`pack_words` was given: ``count`` numbers of the type ``kind``.

    Raises:
        PackingError: It is damaged, or has more or fewer.
    """
    numbers = array(kind)
    size = None if count is None else count * numbers.itemsize
    data = unpack(packed, size)
    if len(data) % numbers.itemsize:
        raise PackingError("a list of numbers is cut short")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def pack_value(value: object) -> bytes:
    """``value``: None, bool, int, str, bytes, and lists and dicts (keys are str) of such."""
    return pack(json.dumps(value, default=_from_bytes, separators=(",", ":")).encode())


def unpack_value(packed: memoryview | bytes) -> Any:
    """What :func:`pack_value` was given; raises :class:`PackingError`."""
    try:
        return json.loads(unpack(packed, limit=_VALUE_LIMIT), object_hook=_to_bytes)
    except (ValueError, RecursionError) as error:
        raise PackingError(str(error)) from error


def _from_bytes(value: object) -> dict[str, str]:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{type(value).__name__} is no plain value")
    return {_BYTES: base64.b64encode(value).decode()}


def _to_bytes(value: dict[str, Any]) -> object:
    if value.keys() == {_BYTES}:
        if not isinstance(value[_BYTES], str):
            raise ValueError("bytes that are no text")
        return base64.b64decode(value[_BYTES], validate=True)
    return value
