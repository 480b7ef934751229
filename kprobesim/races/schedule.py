"""``Schedule``: which CPU runs for how long, one after the other, as a short text.

The text begins with ``kps1:``, the version of the format. Behind it are, compressed and in base 64:
what was run, by a checksum of its description; how many CPUs; and the slices, each with a checksum
of where the CPU stood when it was over. So a schedule of another kernel, of other calls or with
other arguments is told, and so is a run that leaves the recorded one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from kprobesim.errors import ScheduleError
from kprobesim.schedule_text import CUT, MOST_TEXT, Numbers, pack, unpack, varints

__all__ = ["MOST_TEXT", "Early", "Schedule", "Slice", "place_check"]

_PREFIX = "kps1:"
_OTHERS = {
    "kpb1:": "this is the schedule of a boot: give it to Kernel.boot(schedule=...) or k.run("
    "schedule=...)"
}
_MOST_CPUS = 8
_MOST_STEPS = 1 << 48
_MOST_SHOWN = 64
_MOST_CHECKED = 1 << 12  # slices: of more there is no short text with checks in it
_HELD = 1 << 4
"""Beside a CPU's number: the stores that the others do not see follow."""
_EARLY = 1 << 5
"""Beside a CPU's number: the loads that are done early follow."""


class Early(NamedTuple):
    """A load that is done before a store of another CPU is seen, as if it came earlier.

    Attributes:
        step: The instructions that its CPU had executed before it since its beginning.
        cpu: The other CPU.
        store: The instructions that that one had executed before the store.
    """

    step: int
    cpu: int
    store: int

    def __str__(self) -> str:
        return f"{self.step}<{self.cpu}.{self.store}"


@dataclass(frozen=True)
class Slice:
    """A while of one CPU.

    Attributes:
        cpu: Its number.
        steps: Instructions; 0: until its calls are over, or it waits for another CPU.
        check: Sixteen bits that tell where it stands then; ``None``: not known yet.
        held: Which of its stores the others do not see then, by the instructions that it had
            executed before them since its beginning; in that order.
        early: Its loads that are done before others' stores are seen, in their order.
    """

    cpu: int
    steps: int = 0
    check: int | None = None
    held: tuple[int, ...] = ()
    early: tuple[Early, ...] = ()

    def __str__(self) -> str:
        held = f"[{','.join(map(str, self.held))}]" if self.held else ""
        early = f"({','.join(map(str, self.early))})" if self.early else ""
        return f"{self.cpu}:{self.steps or ''}{early}{held}"


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
        """The slices for people: ``0:12 1:`` (CPU 0 for 12 instructions, CPU 1 to its end).

        ``0:12[7]``: the others do not see then what its instruction 7 has stored. ``1:(5<0.9)``:
        the load of its instruction 5 is done before what CPU 0's instruction 9 has stored is seen.
        """
        shown = [*map(str, self.slices[:_MOST_SHOWN])]
        rest = len(self.slices) - len(shown)
        return " ".join([*shown, f"and {rest} more"] if rest else shown)

    def words(self) -> list[str]:
        """The slices in sentences."""
        said = []
        for piece in self.slices:
            many = "instruction" if piece.steps == 1 else "instructions"
            how = f"is stopped after {piece.steps:,} {many}" if piece.steps else "runs"
            late = ", ".join(f"{step:,}" for step in piece.held)
            hides = f", and what it stores at {late} is not seen yet" if late else ""
            early = ", ".join(f"{one.step:,}" for one in piece.early)
            hides += f", its loads at {early} are done early" if early else ""
            said.append(f"CPU {piece.cpu} {how}{hides}")
        return [*said, "the CPUs go on one by one, each to its end"]

    def __str__(self) -> str:
        """The text; of many slices only some keep their checks, so that it is short enough.

        Raises:
            ScheduleError: There are too many slices for any short one.
        """
        every, count = 1, len(self.slices)
        while len(text := self._text(every)) > MOST_TEXT:
            if every > count:
                raise ScheduleError(
                    f"{count} slices need {len(text)} characters, more than {MOST_TEXT}: give "
                    "k.race(..., schedule=) the schedule itself, which pickle keeps"
                )
            every = 2 * every if count <= _MOST_CHECKED else count + 1
        return text

    def _text(self, every: int) -> str:
        """With the check of one slice of ``every`` so many."""
        data = bytearray(self.what.to_bytes(4, "little"))
        data += bytes(varints([self.cpus, len(self.slices)]))
        for number, piece in enumerate(self.slices, 1):
            held = _HELD if piece.held else 0
            early = _EARLY if piece.early else 0
            data += bytes(varints([piece.cpu | held | early, piece.steps]))
            check = 0 if piece.check is None or number % every else piece.check + 1
            data += check.to_bytes(3, "little")
            if held:
                gaps = [b - a for a, b in zip((0, *piece.held), piece.held, strict=False)]
                data += bytes(varints([len(gaps), *gaps]))
            if early:
                loads = [number for each in piece.early for number in each]
                data += bytes(varints([len(piece.early), *loads]))
        return pack(_PREFIX, bytes(data))

    @classmethod
    def parse(cls, text: str | Schedule) -> Schedule:
        """The schedule that ``text`` stands for, if it is none; raises :class:`ScheduleError`."""
        if isinstance(text, Schedule):
            return text
        data = unpack(_PREFIX, text, _OTHERS)
        try:
            return cls._parse(data)
        except IndexError as error:
            raise ScheduleError(CUT) from error

    @classmethod
    def _parse(cls, data: bytes) -> Schedule:
        what = int.from_bytes(data[:4], "little")
        numbers = Numbers(data, 4)
        cpus, count = numbers.take(), numbers.take()
        slices = []
        for _ in range(count):
            cpu, steps = numbers.take(), numbers.take()
            check = numbers.fixed(3)
            gaps = [numbers.take() for _ in range(numbers.take())] if cpu & _HELD else []
            held = tuple(accumulate(gaps))
            loads = numbers.take() if cpu & _EARLY else 0
            early = tuple(
                Early(numbers.take(), numbers.take(), numbers.take()) for _ in range(loads)
            )
            place = check - 1 if check else None
            slices.append(Slice(cpu & ~(_HELD | _EARLY), steps, place, held, early))
        bad = any(piece.cpu >= cpus or piece.steps > _MOST_STEPS for piece in slices) or any(
            each.cpu >= cpus for piece in slices for each in piece.early
        )
        if not 1 <= cpus <= _MOST_CPUS or bad or not numbers.over:
            raise ScheduleError("the schedule is damaged: it speaks of CPUs that are not there")
        return cls(what, cpus, tuple(slices))


def place_check(address: int) -> int:
    """Sixteen bits of where a CPU stands: its program counter."""
    return (address * 0x9E37_79B9_7F4A_7C15 >> 40) & 0xFFFF
