"""``Schedule``: which CPU runs for how long, one after the other, as a short text.

The text begins with ``kps1:``, the version of the format. Behind it are, compressed and in base 64:
what was run, by a checksum of its description; how many CPUs; and the slices, each with a checksum
of where the CPU stood when it was over. So a schedule of another kernel, of other calls or with
other arguments is told, and so is a run that leaves the recorded one.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kprobesim.errors import ScheduleError

__all__ = ["MOST_TEXT", "Schedule", "Slice", "place_check"]

_PREFIX = "kps1:"
MOST_TEXT = 1 << 10
"""Characters of a schedule's text: longer ones are refused."""
_MOST_BYTES = 1 << 16
_MOST_CPUS = 8
_MOST_STEPS = 1 << 48


@dataclass(frozen=True)
class Slice:
    """A while of one CPU.

    Attributes:
        cpu: Its number.
        steps: Instructions; 0: until its calls are over, or it waits for another CPU.
        check: Sixteen bits that tell where it stands then; ``None``: not known yet.
    """

    cpu: int
    steps: int = 0
    check: int | None = None

    def __str__(self) -> str:
        return f"{self.cpu}:{self.steps or ''}"


@dataclass(frozen=True)
class Schedule:
    """Slices; behind the last one the CPUs go on one by one, each to its end.

    Attributes:
        what: A checksum of what is run: the kernel, the calls and their arguments.
        cpus: How many CPUs there are.
        slices: In their order.
    """

    what: int
    cpus: int
    slices: tuple[Slice, ...]

    @property
    def preemptions(self) -> int:
        """How often a CPU is stopped that could go on."""
        return sum(piece.steps > 0 for piece in self.slices)

    def describe(self) -> str:
        """The slices for people: ``0:12 1:`` (CPU 0 for 12 instructions, CPU 1 to its end)."""
        return " ".join(map(str, self.slices))

    def __str__(self) -> str:
        data = bytearray(self.what.to_bytes(4, "little"))
        data += bytes(_varints([self.cpus, len(self.slices)]))
        for piece in self.slices:
            data += bytes(_varints([piece.cpu, piece.steps]))
            check = 0 if piece.check is None else piece.check + 1
            data += check.to_bytes(3, "little")
        packed = zlib.compress(bytes(data), 9)
        sealed = packed + zlib.crc32(packed).to_bytes(4, "little")
        return _PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """The schedule that ``text`` stands for; raises :class:`ScheduleError`."""
        if not isinstance(text, str):
            raise ScheduleError(f"a schedule is a text, not of type {type(text).__name__}")
        text = text.strip()
        if not text.startswith(_PREFIX):
            version, colon, _ = text.partition(":")
            if colon and version.startswith("kps") and version[3:].isdigit():
                raise ScheduleError(
                    f"the schedule is of version {version[3:][:9]}, this kprobesim reads version 1"
                )
            raise ScheduleError(f"{text[:40]!r} is no schedule: those begin with {_PREFIX}")
        if len(text) > MOST_TEXT:
            raise ScheduleError(f"the schedule has {len(text)} characters, more than {MOST_TEXT}")
        body = text[len(_PREFIX) :]
        try:
            sealed = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
            packed, crc = sealed[:-4], int.from_bytes(sealed[-4:], "little")
            if len(sealed) < 5 or zlib.crc32(packed) != crc:
                raise ScheduleError("the schedule is cut or edited: its checksum is wrong")
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(packed, _MOST_BYTES)
            if not unpacker.eof or unpacker.unused_data:
                raise ScheduleError("the schedule is damaged")
            return cls._parse(data)
        except (binascii.Error, zlib.error, ValueError, IndexError) as error:
            raise ScheduleError("the schedule is cut or edited: it cannot be unpacked") from error

    @classmethod
    def _parse(cls, data: bytes) -> Schedule:
        what = int.from_bytes(data[:4], "little")
        numbers = _Numbers(data, 4)
        cpus, count = numbers.take(), numbers.take()
        slices = []
        for _ in range(count):
            cpu, steps = numbers.take(), numbers.take()
            check = numbers.fixed(3)
            slices.append(Slice(cpu, steps, check - 1 if check else None))
        bad = any(piece.cpu >= cpus or piece.steps > _MOST_STEPS for piece in slices)
        if not 1 <= cpus <= _MOST_CPUS or bad or numbers.at != len(data):
            raise ScheduleError("the schedule is damaged: it speaks of CPUs that are not there")
        return cls(what, cpus, tuple(slices))


def place_check(address: int) -> int:
    """Sixteen bits of where a CPU stands: its program counter."""
    return (address * 0x9E37_79B9_7F4A_7C15 >> 40) & 0xFFFF


def _varints(numbers: Iterable[int]) -> Iterator[int]:
    for number in numbers:
        while number > 127:
            yield number & 127 | 128
            number >>= 7
        yield number


class _Numbers:
    """Reads what :func:`_varints` wrote; raises :class:`IndexError` behind the end."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def take(self) -> int:
        number = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def fixed(self, size: int) -> int:
        self.at += size
        if self.at > len(self._data):
            raise IndexError
        return int.from_bytes(self._data[self.at - size : self.at], "little")
