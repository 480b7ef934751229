"""``EntryLayout``: how an entry of a stream lies, and the ``Stamp`` that tells who was running.

An entry is a word with the number of whoever wrote it and the low bits of the time, then the
numbers of its fields side by side, then its strings, each as long as it is. What seldom changes
from one to the next - whose it is, in which context, the high bits of the time - stands in an entry
of its own, before the first that it is true of.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple

from kprobesim.programs.fault import FAULT
from kprobesim.programs.stores.layout import Packed
from kprobesim.programs.types import Int, Str
from kprobesim.programs.values import Value
from kprobesim.sizes import MASK64

__all__ = [
    "CPU_BIT",
    "HEADER",
    "NO_IDS",
    "NO_STAMP",
    "NUMBER_BITS",
    "STAMP",
    "STAMP_NUMBER",
    "TIME_BITS",
    "TIME_MASK",
    "EntryLayout",
    "Stamp",
]

HEADER = 8
"""Bytes before an entry's fields: its number in the low bits, and the time above them."""
NUMBER_BITS = 24
TIME_BITS = 64 - NUMBER_BITS
TIME_MASK = (1 << TIME_BITS) - 1
"""The bits of the time: an entry is not older than its stamp, and not newer by more."""
STAMP = 32
"""Bytes of a stamp: its header, then the fact "ids" with the CPU's number above it, the fact
"context", and the time."""
STAMP_NUMBER = 0
CPU_BIT = 54
"""Where the CPU's number begins in the word of ids, whose tgid is below 2**22 (PID_MAX_LIMIT)."""
NO_IDS = MASK64
"""What no ids are."""

_LENGTH = Int(32, signed=True)
_STAMP = Struct("<QQQQ")
_IDS_MASK = (1 << CPU_BIT) - 1


class Stamp(NamedTuple):
    """What the entries behind it have in common.

    Attributes: facts of the first of them.
        cpu: The number of the CPU.
        ids: Whose it is.
        context: What the CPU does.
        now: The time in nanoseconds.
    """

    cpu: int
    ids: int
    context: int
    now: int

    @classmethod
    def unpack(cls, data: bytes, at: int) -> Stamp:
        """The one that begins at ``at``."""
        _, ids, context, now = _STAMP.unpack_from(data, at)
        return cls(ids >> CPU_BIT, ids & _IDS_MASK, context, now)

    def pack(self) -> bytes:
        """The entry."""
        return _STAMP.pack(self.header(STAMP_NUMBER, self.now), self.word, self.context, self.now)

    @property
    def word(self) -> int:
        """The word of ids, with the CPU's number."""
        return self.ids | self.cpu << CPU_BIT

    @staticmethod
    def header(number: int, time: int) -> int:
        """The first word of an entry of that ``number``, at ``time``."""
        return number | (time & TIME_MASK) << NUMBER_BITS

    def covers(self, time: int) -> bool:
        """Whether entries at ``time`` may stand behind this stamp: their low bits tell it."""
        return 0 <= time - self.now <= TIME_MASK


NO_STAMP = Stamp(0, 0, 0, 0)
"""That of entries that have none."""


class EntryLayout:
    """How the fields of an entry lie.

    Attributes:
        numbers: The part of fixed size; a string has its length there, -1 for a fault.
        least: Bytes of an entry without its strings.
        most: Bytes that an entry may take.
        is_fixed: Whether all take as many: there are no strings.
        unpack_plain: Unpacks the numbers behind an entry's header, where they are all that there
            is, and none can be a fault; else ``None``.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = tuple(values)
        kinds = [_LENGTH if isinstance(v.type, Str) else v.type for v in self.values]
        fallible = any(v.fallible for v in self.values if isinstance(v.type, Int))
        self.numbers = Packed(kinds, fallible=fallible)
        strings = [v.type.size for v in self.values if isinstance(v.type, Str)]
        self.least = HEADER + self.numbers.size
        self.most = self.least + sum(strings)
        self.is_fixed = not strings
        self.unpack_plain = self.numbers.unpack_plain if self.is_fixed else None
        self._strings = tuple(n for n, v in enumerate(self.values) if isinstance(v.type, Str))

    def pack(self, header: int, values: Sequence[Any]) -> bytes:
        """The entry; a string is bytes or ``FAULT``."""
        flat, tail = list(values), b""
        for n in self._strings:
            text = values[n]
            flat[n] = -1 if text is FAULT else len(text)
            if text is not FAULT:
                tail += text + bytes(-len(text) % 8)
        return header.to_bytes(HEADER, "little") + self.numbers.pack(flat) + tail

    def size(self, data: bytes, at: int) -> int:
        """Bytes of the entry that begins at ``at``."""
        size = self.least
        for n in self._strings:
            place = at + HEADER + self.numbers.offsets[n]
            length = int.from_bytes(data[place : place + 4], "little", signed=True)
            if length > 0:
                size += length + 7 & ~7
        return size

    def unpack(self, data: bytes, at: int) -> list[Any]:
        """The values of the entry that begins at ``at``; strings as bytes."""
        values = self.numbers.unpack(data, at + HEADER)
        tail = at + self.least
        for n in self._strings:
            length = values[n]
            if length < 0:
                values[n] = FAULT
            else:
                values[n] = data[tail : tail + length].split(b"\0", 1)[0]
                tail += length + 7 & ~7
        return values
