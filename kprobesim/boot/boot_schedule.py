"""``BootSchedule``: which CPU of a board has run when, as a short text.

The text begins with ``kpb1:``, the version of the format. Behind it are, packed as
:mod:`~kprobesim.schedule_text` does: a checksum of the kernel and its board, where the run began,
and the policies that chose, each with the time from which on. A policy that can be made again from
its text needs no more than that; of another one each choice is written down. Marks, checksums of
all turns up to one, tell where a run leaves the recorded one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kprobesim.errors import ScheduleError
from kprobesim.hexrepr import HexRepr
from kprobesim.schedule_text import CUT, MOST_TEXT, Numbers, pack, unpack, varints

__all__ = ["MOST_CHOICES", "BootSchedule", "Part", "Tick"]

MOST_CHOICES = 1 << 16
"""Of a policy that has no text: of one that made more no schedule can be written."""

_PREFIX = "kpb1:"
_OTHERS = {"kps1:": "this is the schedule of a race: give it to k.race(..., schedule=...)"}
_MOST_CPUS = 8
_NS = 1e9


@dataclass(frozen=True)
class Part:
    """From when on which policy chose.

    Attributes:
        since: Nanoseconds of the guest's time.
        policy: Its text; empty for one that has none.
        choices: What that one chose: CPUs and blocks.
    """

    since: int
    policy: str
    choices: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, repr=False)
class Tick(HexRepr):
    """An interrupt of a timer that was made to come at an instruction.

    Attributes:
        time: Nanoseconds of the guest's time, before.
        address: Of the instruction.
    """

    time: int
    address: int


@dataclass(frozen=True)
class BootSchedule:
    """The schedule of one run, or of a chain of runs.

    Attributes:
        what: A checksum of the kernel and the board that ran.
        cpus: How many CPUs there are.
        began: Where it began: nanoseconds of the guest's time; ``None``: at power-on.
        origin: A checksum of the state there.
        parts: The policies.
        ticks: The interrupts that were made to come.
        marks: (Turns, checksum of them), ascending.
    """

    what: int
    cpus: int
    began: int | None
    origin: int
    parts: tuple[Part, ...]
    ticks: tuple[Tick, ...] = field(default=())
    marks: tuple[tuple[int, int], ...] = ()

    def describe(self) -> str:
        """It for people."""
        start = "power-on" if self.began is None else f"{self.began / _NS:.6f} s"
        names = [part.policy or f"{len(part.choices)} turns" for part in self.parts]
        if self.cpus == 1:
            names = ["one CPU"]
        forced = f", {len(self.ticks)} timer interrupts" if self.ticks else ""
        return f"from {start}: {', then '.join(names)}{forced}"

    @property
    def turns(self) -> int:
        """How many turns there were."""
        return self.marks[-1][0] if self.marks else 0

    def __str__(self) -> str:
        """The text; raises :class:`ScheduleError` if there is no short one."""
        self.check_whole()
        data = self.what.to_bytes(4, "little") + self.origin.to_bytes(4, "little")
        text = pack(_PREFIX, data + bytes(varints(self._numbers())))
        if len(text) > MOST_TEXT:
            raise ScheduleError(
                f"the schedule's text has {len(text)} characters, more than {MOST_TEXT}: a policy "
                "of your own made too many choices; those of kprobesim need a few letters each. "
                "Give k.run(schedule=) k.schedule itself, which pickle keeps"
            )
        return text

    def check_whole(self) -> None:
        """Raise :class:`ScheduleError` if there were too many choices to keep them."""
        if any(len(part.choices) >= MOST_CHOICES for part in self.parts):
            raise ScheduleError(
                f"a policy of your own made more than {MOST_CHOICES} choices, too many to write "
                "them down: let it have a seed, or follow a state that is nearer to the failure"
            )

    def _numbers(self) -> Iterator[int]:
        yield from (self.cpus, 0 if self.began is None else self.began + 1, len(self.parts))
        before = 0
        for part in self.parts:
            encoded = part.policy.encode()
            yield from (part.since - before, len(encoded), *encoded, len(part.choices))
            before = part.since
            for cpu, blocks in part.choices:
                yield from (cpu, blocks)
        yield len(self.ticks)
        for tick in self.ticks:
            yield from (tick.time, tick.address)
        yield len(self.marks)
        turns = 0
        for number, check in self.marks:
            yield from (number - turns, check)
            turns = number

    @classmethod
    def parse(cls, text: str | BootSchedule) -> BootSchedule:
        """The schedule that ``text`` stands for, if it is none; raises :class:`ScheduleError`."""
        if isinstance(text, BootSchedule):
            text.check_whole()
            return text
        data = unpack(_PREFIX, text, _OTHERS)
        try:
            return cls._parse(Numbers(data))
        except (IndexError, ValueError) as error:
            raise error if isinstance(error, ScheduleError) else ScheduleError(CUT) from error

    @classmethod
    def _parse(cls, numbers: Numbers) -> BootSchedule:
        take = numbers.take
        what, origin = numbers.fixed(4), numbers.fixed(4)
        cpus, began, count = take(), take(), take()
        parts, since = [], 0
        for _ in range(count):
            since += take()
            policy = bytes(take() for _ in range(take())).decode()
            choices = tuple((take(), take()) for _ in range(take()))
            parts.append(Part(since, policy, choices))
        ticks = tuple(Tick(take(), take()) for _ in range(take()))
        marks, turns = [], 0
        for _ in range(take()):
            turns += take()
            marks.append((turns, take()))
        bad = any(cpu >= cpus or not blocks for part in parts for cpu, blocks in part.choices)
        if not 1 <= cpus <= _MOST_CPUS or not parts or bad or not numbers.over:
            raise ScheduleError("the schedule is damaged: it speaks of CPUs that are not there")
        return cls(what, cpus, began - 1 if began else None, origin, tuple(parts), ticks, (*marks,))
