"""Which stores an exploration lets other CPUs see late; they wait in :mod:`.memory.store_buffers`.

A slice at whose end a CPU keeps something back counts as a preemption does: the message of a
writer without ``smp_wmb()`` is read wrongly with a single one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.run import Run, Stretch
from kprobesim.races.memory.store_buffer import Pending
from kprobesim.races.run_log import LaneAccess
from kprobesim.races.schedule import Early, Slice

__all__ = ["SomeLate", "are_late", "one_later", "seen_late"]


def one_later(
    slices: Sequence[Slice], pending: Sequence[Pending], length: int
) -> Iterator[tuple[Slice, ...]]:
    """The beginnings of schedules in which one CPU more keeps stores back.

    Args:
        slices: Those of the run that they begin as.
        pending: At the end of each, what could have been kept back.
        length: How many of them were chosen.
    """
    for number in range(max(length - 2, 0), min(len(slices) - 1, len(pending))):
        piece = slices[number]
        if not piece.held:
            behind = [each.cpu for each in slices[number + 1 :]]
            following = dict.fromkeys([behind[0], *(cpu for cpu in behind if cpu != piece.cpu)])
            for held in pending[number].choices():
                for cpu in following:
                    yield (*slices[:number], replace(piece, held=held), Slice(cpu))


def one_earlier(
    outcome_slices: Sequence[Slice],
    stretches: Sequence[Stretch],
    found: Iterable[tuple[int, Early]],
    length: int,
) -> Iterator[tuple[Slice, ...]]:
    """The beginnings of schedules in which one load more is done early.

    Args:
        outcome_slices: Those of the run that they begin as.
        stretches: What its CPUs did.
        found: The loads that could have been: their CPU, and before what.
        length: How many slices were chosen.
    """
    for cpu, early in found:
        for number in range(length - 1, len(outcome_slices)):
            piece = stretches[number]
            if piece.cpu == cpu and piece.start <= early.step < piece.start + piece.steps:
                before = outcome_slices[number].early
                if not before or before[-1].step < early.step:
                    changed = replace(outcome_slices[number], early=(*before, early))
                    yield (*outcome_slices[:number], changed)


def are_late(slices: Sequence[Slice], number: int) -> bool:
    """Whether other CPUs keep something back while that of slice ``number`` runs."""
    last = {piece.cpu: piece for piece in slices[:number]}
    return any(piece.held for cpu, piece in last.items() if cpu != slices[number].cpu)


def seen_late(
    run: Run, log: Iterable[LaneAccess], symbolize: Callable[[int], str]
) -> tuple[str, ...]:
    """What others saw late in ``run``: stores that were kept back, loads that came before them.

    Args:
        run: The run.
        log: Its accesses.
        symbolize: Names the place of an instruction.
    """
    kept = [(piece.cpu, step) for piece in run.slices for step in piece.held]
    early = [(piece.cpu, each) for piece in run.slices for each in piece.early]
    if not kept and not early:
        return ()
    places = {(each.cpu, each.step): each.pc for each in log}

    def place(cpu: int, step: int) -> str:
        return symbolize(places[cpu, step])

    found = [f"what CPU {cpu} stores at {place(cpu, step)}" for cpu, step in kept]
    found += [
        f"what CPU {each.cpu} stores at {place(each.cpu, each.store)}: what CPU {cpu} loads at "
        f"{place(cpu, each.step)} was loaded before"
        for cpu, each in early
    ]
    return tuple(dict.fromkeys(found))


class SomeLate:
    """Chooses at random, the same in each run of one plan."""

    def __init__(self, lanes: Lanes, seed: int) -> None:
        """Have chosen nothing.

        Args:
            lanes: What runs.
            seed: Another one chooses others.
        """
        self._lanes = lanes
        self._numbers = random.Random(seed)

    def choose(self, run: Run) -> None:
        """Let the CPU of the last slice of ``run`` keep all, some or nothing back."""
        pending = run.pending[-1]
        kind = self._numbers.randrange(4)
        if pending and kind:
            steps = [entry.step for entry in pending.entries]
            if kind > 1:
                steps = [step for step in steps if self._numbers.randrange(2)]
            self._lanes.keep(run, steps)
