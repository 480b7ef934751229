"""Numbers: integers, floating point numbers and enums."""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.types.base import RECORD, Sized

__all__ = ["Enum", "Enum64", "EnumValue", "Float", "Int"]

_SIGNED, _CHAR, _BOOL = 1, 2, 4  # bits of an integer's encoding


class Int(Sized):
    """An integer; also ``char`` and ``bool``."""

    __slots__ = ()
    kind = "int"

    @property
    def _encoding(self) -> int:
        return self.btf.words[self.at + RECORD]

    @property
    def is_signed(self) -> bool:
        """Whether it is signed; BTF says of a plain ``char`` what the compiler said."""
        return bool(self._encoding >> 24 & _SIGNED)

    @property
    def is_char(self) -> bool:
        """Whether it is for characters. Compilers rarely say so."""
        return bool(self._encoding >> 24 & _CHAR)

    @property
    def is_bool(self) -> bool:
        """Whether it is ``_Bool``."""
        return bool(self._encoding >> 24 & _BOOL)

    @property
    def bit_offset(self) -> int:
        """Where its bits start: not 0 only in bit fields as they were encoded before Linux 5.0."""
        return self._encoding >> 16 & 0xFF

    @property
    def bits(self) -> int:
        """How many bits it has."""
        return self._encoding & 0xFF


class Float(Sized):
    """A floating point number."""

    __slots__ = ()
    kind = "float"


class EnumValue(NamedTuple):
    """A name and its value."""

    name: str
    value: int


class Enum(Sized):
    """An enum whose values have at most 32 bits; an :class:`Enum64` is one, too."""

    __slots__ = ()
    kind = "enum"

    @property
    def is_signed(self) -> bool:
        """Whether its values are signed. Before pahole 1.24 nobody said so, and 32 bits may be."""
        return self._flag

    @property
    def values(self) -> tuple[EnumValue, ...]:
        """Its names, in order; none for an enum that is only declared."""
        words, string, signed = self.btf.words, self.btf.string, self._flag
        return tuple(
            EnumValue(string(words[at]), _signed(words[at + 1], 32) if signed else words[at + 1])
            for at in self._elements(2)
        )


class Enum64(Enum):
    """An enum whose values may have 64 bits."""

    __slots__ = ()
    kind = "enum64"

    @property
    def values(self) -> tuple[EnumValue, ...]:
        """Its names, in order."""
        words, string, signed = self.btf.words, self.btf.string, self._flag
        found = []
        for at in self._elements(3):
            value = words[at + 1] | words[at + 2] << 32
            found.append(EnumValue(string(words[at]), _signed(value, 64) if signed else value))
        return tuple(found)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
