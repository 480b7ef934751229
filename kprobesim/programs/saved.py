"""The programs of a guest and what they have kept, as plain data; and planting them again."""

from __future__ import annotations

from typing import Any, NamedTuple

from kprobesim.errors import UsageError
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.programs.as_data import program_from_data, program_to_data
from kprobesim.programs.pending import Call, Pool
from kprobesim.programs.planted import Planted
from kprobesim.programs.planting import Programs
from kprobesim.programs.probe import ProgramProbe
from kprobesim.programs.return_probe import ReturnProgramProbe
from kprobesim.programs.stores.counts import Counts

__all__ = ["SavedPrograms", "planted_in", "prepare_saved", "save_programs"]


class SavedPrograms(NamedTuple):
    """Programs that are stored with their probes.

    Attributes:
        facts: A dict for each, as plain data.
        kept: What their stores keep, one after the other.
    """

    facts: list[dict[str, Any]]
    kept: list[bytes]


def planted_in(kprobes: KprobesManager) -> list[Planted]:
    """All that is planted there, in order of registration."""
    found = {id(p.planted): p.planted for p in kprobes if isinstance(p, ProgramProbe)}
    return [*found.values()]


def save_programs(kprobes: KprobesManager) -> SavedPrograms:
    """The programs of all registered probes."""
    saved = SavedPrograms([], [])
    stored = [p for p in kprobes if not p.is_stored_by_others]
    places = {id(p): number for number, p in enumerate(stored)}
    for planted in planted_in(kprobes):
        if planted.probes[0].is_stored_by_others:
            continue
        stores = [store.save() for store in planted.stores]
        saved.kept.extend(data for _, data in stores)
        saved.facts.append(
            {
                "program": program_to_data(planted.program),
                "names": list(planted.names),
                "many": any(isinstance(store, Counts) for store in planted.stores),
                "asked": planted.asked,
                "lost": [lost for lost, _ in stores],
                # Of each probe: its number among all (-1: unregistered), its hits and faults.
                "probes": [[places.get(id(p), -1), p.hits, p.faults] for p in planted.probes],
                "calls": [_calls(p) for p in planted.probes],
                "stacks": _stacks(planted),
            }
        )
    return saved


def _calls(p: ProgramProbe) -> list[list[Any]]:
    """The calls that a return program follows."""
    calls = p.calls if isinstance(p, ReturnProgramProbe) else []
    return [[*call[:-1], list(call.saved)] for call in calls]


def _stacks(planted: Planted) -> list[list[Any]]:
    """What its numbers of stacks stand for."""
    if not planted.program.asks_for_stacks:
        return []
    return [[number, list(addresses)] for number, addresses in planted.stacks.items()]


def prepare_saved(programs: Programs, saved: SavedPrograms) -> dict[int, Kprobe]:
    """Make what :func:`save_programs` gave, for a guest whose probes are still to be registered.

    Returns:
        The probes, by their numbers among all.

    Raises:
        UsageError: It is damaged.
    """
    made: dict[int, Kprobe] = {}
    followed: list[tuple[Pool, Call]] = []
    kept = iter(saved.kept)
    try:
        for facts in saved.facts:
            planted = programs.prepare(
                [str(name) for name in facts["names"]],
                program_from_data(facts["program"]),
                many=bool(facts["many"]),
                compiled=False if facts["asked"] is False else None,
            )
            for store, lost in zip(planted.stores, facts["lost"], strict=True):
                store.load(int(lost), next(kept))
            for p, (number, hits, faults) in zip(planted.probes, facts["probes"], strict=True):
                p.remember(hits, faults)
                if number >= 0:
                    made[number] = p
            programs.stacks.put_all(facts["stacks"])
            if planted.program.returns and not planted.compiled:
                raise UsageError(f"the stored return programs need a compiler: {planted.why_not}")
            for p, calls in zip(planted.probes, facts["calls"], strict=True):
                if isinstance(p, ReturnProgramProbe):
                    followed += p.again(Call._make((*call[:-1], tuple(call[-1]))) for call in calls)
        programs.following.pending.follow(followed)
    except UsageError:
        raise
    except (LookupError, TypeError, ValueError, StopIteration, OverflowError) as error:
        raise UsageError(f"the stored programs are damaged ({error!r})") from error
    return made
