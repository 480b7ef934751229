"""``Run``: what came of one run of all lanes, and what each CPU's lane is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kprobesim.errors import GuestError
from kprobesim.hexrepr import HexRepr
from kprobesim.races.memory.store_buffer import Pending
from kprobesim.races.schedule import Slice

__all__ = ["Lane", "Plan", "Run", "Stretch"]


@dataclass
class Lane:
    """What one CPU does.

    Attributes:
        name: What it is called in reports.
        calls: The functions' addresses, each with its arguments.
        results: What those returned that are over.
        executed: Instructions so far.
        at: Where it goes on; ``None``: all its calls are over.
    """

    name: str
    calls: Sequence[tuple[int, Sequence[int]]]
    results: list[int] = field(default_factory=list)
    executed: int = 0
    at: int | None = None


@dataclass(frozen=True, repr=False)
class Stretch(HexRepr):
    """What one CPU did without another one in between.

    Attributes:
        cpu: Its number.
        start: Its instructions before, counted from its beginning.
        steps: Instructions.
        first: The number of its first access in the log.
        end: That of the first one behind it.
        why: "steps" (the slice was over), "over" (its calls are) or "waits" (for another CPU).
    """

    cpu: int
    start: int
    steps: int
    first: int
    end: int
    why: str


@dataclass
class Run:
    """One run of all lanes.

    Attributes:
        slices: What it followed, with checks.
        stretches: What the CPUs did, in order.
        results: By lane, what its calls returned.
        error: What ended it early.
        error_cpu: On which CPU.
        stuck: The CPUs that wait for each other for ever.
        endless: Whether these have come to no end within the instructions of a run, instead.
        told: How many slices a schedule needs, where that is known.
        pending: At the end of each slice, what its CPU could have kept from the others' sight.
    """

    slices: list[Slice] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    results: list[list[int]] = field(default_factory=list)
    error: GuestError | None = None
    error_cpu: int = 0
    stuck: list[int] = field(default_factory=list)
    endless: bool = False
    told: int | None = None
    pending: list[Pending] = field(default_factory=list)

    def schedule(self) -> tuple[Slice, ...]:
        """The slices that matter: all but those at the end that come by themselves."""
        if self.told is not None:
            return tuple(self.slices[: self.told])
        kept, count = list(self.slices), len(self.results)
        if self.stuck:  # they take turns for ever, also without being told to
            waits = [piece.why == "waits" for piece in self.stretches]
            while len(kept) > 1 and waits[len(kept) - 1] and not (kept[-1].steps or kept[-1].early):
                kept.pop()
        while kept and not (kept[-1].steps or kept[-1].held or kept[-1].early):
            before = kept[-2].cpu if len(kept) > 1 else -1
            if kept[-1].cpu != (before + 1) % count:
                break
            kept.pop()
        return tuple(kept)


Plan = Callable[[Run], Iterable[Slice]]
"""Gives the slices of a run, one behind the other; the run is how it has gone so far."""
