"""How records of numbers show themselves: addresses in hex, and only what is worth saying."""

from __future__ import annotations

import enum
from typing import Any

__all__ = ["HexRepr"]

_IN_HEX = {"address", "addr", "code", "offset"}
_LARGE = 1 << 16
_MANY = 32  # bytes; more are only counted


class HexRepr:
    """For a ``dataclass(repr=False)``: ``Trap(kind=PAGE_FAULT, number=14, address=0x8)``.

    Left out is what has its default value. Numbers are in hex if they are addresses, or large
    enough to be one; bytes as objdump shows them.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        import dataclasses  # 5 ms: not for who shows nothing

        assert dataclasses.is_dataclass(self)
        shown = [
            f"{field.name}={_text(field.name, value)}"
            for field in dataclasses.fields(self)
            if field.repr
            for value in (getattr(self, field.name),)
            if field.default is dataclasses.MISSING or value != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _text(name: str, value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name or str(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int) and (name in _IN_HEX or abs(value) >= _LARGE):
        return f"{value:#x}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>" if len(value) > _MANY else f"'{bytes(value).hex(' ')}'"
    return repr(value)
