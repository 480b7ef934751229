"""Schedules as text: numbers, packed and under a checksum, in the letters of base 64."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator

from kprobesim.errors import ScheduleError

__all__ = ["CUT", "MOST_TEXT", "Numbers", "pack", "text_of", "unpack", "varints"]

MOST_TEXT = 1 << 10
"""Characters of a schedule's text: longer ones are refused."""
CUT = "the schedule is cut or edited: it cannot be unpacked"
_MOST_BYTES = 1 << 16
_MOST_SHIFT = 63


def text_of(schedule: object) -> str:
    """The text of a schedule, for messages: or "none", and why."""
    try:
        return str(schedule)
    except ScheduleError as error:
        return f"none: {error}"


def pack(prefix: str, data: bytes) -> str:
    """``data`` as a text that begins with ``prefix``; it may be too long to be read again."""
    packed = zlib.compress(data, 9)
    sealed = packed + zlib.crc32(packed).to_bytes(4, "little")
    return prefix + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def unpack(prefix: str, text: object, others: dict[str, str] | None = None) -> bytes:
    """What :func:`pack` was given.

    Args:
        prefix: How the text must begin: ``kps1:``, with the version in it.
        text: The text.
        others: Beginnings of other kinds of schedules, and what to do with those.

    Raises:
        ScheduleError: It is no such text, or no longer what it was.
    """
    if not isinstance(text, str):
        raise ScheduleError(f"a schedule is a text, not of type {type(text).__name__}")
    text = text.strip()
    for other, hint in (others or {}).items():
        if text.startswith(other):
            raise ScheduleError(hint)
    if not text.startswith(prefix):
        kind = prefix.rstrip(":0123456789")
        version, colon, _ = text.partition(":")
        number = version.removeprefix(kind)
        if colon and version.startswith(kind) and number.isdigit():
            raise ScheduleError(
                f"the schedule is of version {number[:9]}, this kprobesim reads version 1"
            )
        raise ScheduleError(f"{text[:40]!r} is no schedule: those begin with {prefix}")
    if len(text) > MOST_TEXT:
        raise ScheduleError(f"the schedule has {len(text)} characters, more than {MOST_TEXT}")
    body = text[len(prefix) :]
    try:
        sealed = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
        packed, crc = sealed[:-4], int.from_bytes(sealed[-4:], "little")
        if len(sealed) < 5 or zlib.crc32(packed) != crc:
            raise ScheduleError("the schedule is cut or edited: its checksum is wrong")
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, _MOST_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise error if isinstance(error, ScheduleError) else ScheduleError(CUT) from error
    if not unpacker.eof or unpacker.unused_data:
        raise ScheduleError("the schedule is damaged")
    return data


def varints(numbers: Iterable[int]) -> Iterator[int]:
    """Bytes that :meth:`Numbers.take` reads."""
    for number in numbers:
        while number > 127:
            yield number & 127 | 128
            number >>= 7
        yield number


class Numbers:
    """Reads numbers out of ``data``, from ``at`` on; raises :class:`IndexError` behind the end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        """Stand at ``at``."""
        self._data = data
        self.at = at

    def take(self) -> int:
        """The next one of :func:`varints`."""
        number = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > _MOST_SHIFT:
                raise ScheduleError(CUT)

    def fixed(self, size: int) -> int:
        """The next one of so many bytes."""
        return int.from_bytes(self.bytes(size), "little")

    def bytes(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        self.at += size
        if self.at > len(self._data):
            raise IndexError
        return self._data[self.at - size : self.at]

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.at == len(self._data)
