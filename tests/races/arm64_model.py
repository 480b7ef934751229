"""What programs of :mod:`litmus` may do on ARM64, by the architecture's own axioms.

Every execution is a choice of what each load reads from and in which order the stores to a place
are; it is allowed if "internal", "atomic" and "external" hold: Arm ARM, B2.3, and aarch64.cat of
herd7 (Deacon and Alglave). Written down from these, and knows nothing of the package.

What the package does not do is left out with ``in_order``: there, no store is seen before a load or
an exchange that comes before it in the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import Any, NamedTuple

from races.litmus import LOADING, PLACES, Op

__all__ = ["arm64_outcomes"]

_BARRIERS = "mb", "wmb", "rmb", "isb", "ctrl"
_ATOMICS = {"xchg": ("", "L"), "swp": ("", ""), "swpa": ("A", ""), "swpl": ("", "L")}
_ATOMICS["swpal"] = "A", "L"


class _Event(NamedTuple):
    """A load or a store."""

    number: int
    cpu: int
    at: int  # in the program
    place: str
    is_store: bool
    value: int
    sort: str  # "A" acquire, "L" release
    pair: str  # the atomic that it belongs to


Edges = set[tuple[int, int]]


def arm64_outcomes(programs: list[list[Op]], *, in_order: bool = False) -> set[tuple[Any, ...]]:
    """Every (registers by CPU, memory) that there can be in the end."""
    events = [*_events(programs)]
    ordered, made_of = _ordered(programs, events, in_order=in_order)
    stores = {place: [e for e in events if e.is_store and e.place == place] for place in PLACES}
    loads = [event for event in events if not event.is_store]
    found = set()
    orders = [[*permutations(stores[place])] for place in PLACES]
    sources = [[None, *stores[load.place]] for load in loads]
    for chosen in product(*sources):
        reads = {load.number: source for load, source in zip(loads, chosen, strict=True)}
        for order in product(*orders):
            places = dict(zip(PLACES, order, strict=True))
            if _is_allowed(events, reads, places, ordered, made_of):
                registers = tuple(
                    tuple(
                        0 if (source := reads[e.number]) is None else source.value
                        for e in events
                        if e.cpu == cpu and not e.is_store
                    )
                    for cpu in range(len(programs))
                )
                memory = tuple(places[p][-1].value if places[p] else 0 for p in PLACES)
                found.add((registers, memory))
    return found


def _events(programs: list[list[Op]]) -> Iterator[_Event]:
    number = 0
    for cpu, ops in enumerate(programs):
        for at, op in enumerate(ops):
            if op.kind in _BARRIERS:
                continue
            if op.kind in _ATOMICS:
                load, store = _ATOMICS[op.kind]
                yield _Event(number, cpu, at, op.place, False, 0, load, op.kind)
                yield _Event(number + 1, cpu, at, op.place, True, op.value, store, op.kind)
                number += 2
                continue
            sort = {"acquire": "A", "release": "L"}.get(op.kind, "")
            is_store = op.kind not in LOADING
            yield _Event(number, cpu, at, op.place, is_store, op.value, sort, "")
            number += 1


def _ordered(
    programs: list[list[Op]], events: list[_Event], *, in_order: bool
) -> tuple[Edges, Edges]:
    """dob, aob and bob, as far as they do not depend on who reads what; addr and data."""
    edges: Edges = set()
    made_of: Edges = set()
    for one, two in product(events, events):
        if one.cpu != two.cpu or one.number >= two.number:
            continue
        ops = programs[one.cpu]
        pairs = one.at == two.at
        between = [op.kind for op in ops[one.at + 1 : two.at]]
        # XCHG of the kernel's ends in a DMB.
        fences = [*between, *(["mb"] if one.pair == "xchg" and not pairs else [])]
        full = "mb" in fences or "xchg" in between
        if (
            pairs
            or full
            or (one.sort == "L" and two.sort == "A")
            or ("rmb" in fences and not one.is_store)
            or one.sort == "A"
            or ("wmb" in fences and one.is_store and two.is_store)
            or two.sort == "L"
            or (in_order and two.is_store and (one.pair or not one.is_store))
        ):
            edges.add((one.number, two.number))
        if not one.is_store:
            depends, is_made_of = _depends(ops, events, one, two)
            edges |= {(one.number, two.number)} if depends else set()
            made_of |= {(one.number, two.number)} if is_made_of else set()
    return edges, made_of


def _depends(ops: list[Op], events: list[_Event], one: _Event, two: _Event) -> tuple[bool, bool]:
    """Whether dob orders them, but for what is forwarded; whether it is addr or data."""
    cpu = [event for event in events if event.cpu == one.cpu]
    users = [at for at in range(one.at + 1, len(ops)) if _latest(cpu, at) is one]
    addresses = [at for at in users if ops[at].address]
    branches = [at for at in users if ops[at].kind == "ctrl"]
    if two.at in addresses or (two.is_store and two.at in users and ops[two.at].data):
        return True, True
    if two.is_store:
        return any(at < two.at for at in (*branches, *addresses)), False
    fences = [at for at, op in enumerate(ops) if op.kind == "isb" and at < two.at]
    return any(at < fence for fence in fences for at in (*branches, *addresses)), False


def _latest(cpu: list[_Event], at: int) -> _Event | None:
    """The load before instruction ``at``."""
    loads = [event for event in cpu if not event.is_store and event.at < at]
    return loads[-1] if loads else None


def _is_allowed(
    events: list[_Event],
    reads: dict[int, _Event | None],
    places: dict[str, tuple[_Event, ...]],
    ordered: Edges,
    made_of: Edges,
) -> bool:
    coherence: Edges = set()
    for order in places.values():
        coherence |= {(a.number, b.number) for n, a in enumerate(order) for b in order[n + 1 :]}
    rf = {(source.number, load) for load, source in reads.items() if source is not None}
    fr: Edges = set()
    for load, source in reads.items():
        order = places[events[load].place]
        first = 0 if source is None else order.index(source) + 1
        fr |= {(load, later.number) for later in order[first:]}
    po_loc = {
        (a.number, b.number)
        for a, b in product(events, events)
        if a.cpu == b.cpu and a.number < b.number and a.place == b.place
    }
    if not _is_acyclic(po_loc | coherence | rf | fr, len(events)):
        return False
    for a in events:  # nothing comes between the load and the store of an atomic
        if a.pair and not a.is_store:
            store = a.number + 1
            if any(
                (a.number, w) in fr and (w, store) in coherence and events[w].cpu != a.cpu
                for w in range(len(events))
            ):
                return False

    def outside(edges: Edges) -> Edges:
        return {(a, b) for a, b in edges if events[a].cpu != events[b].cpu}

    ob = ordered | outside(rf) | outside(fr) | outside(coherence)
    for store, load in rf - outside(rf):  # what is forwarded
        if events[store].pair and events[load].sort == "A":
            ob.add((store, load))
        ob |= {(number, load) for number, made in made_of if made == store}
    for first, second in coherence - outside(coherence):
        if events[first].sort == "L":
            ob |= {(number, second) for number, release in ordered if release == first}
    return _is_acyclic(ob, len(events))


def _is_acyclic(edges: Edges, count: int) -> bool:
    after: dict[int, list[int]] = {n: [] for n in range(count)}
    for a, b in edges:
        after[a].append(b)
    state = [0] * count

    def visit(node: int) -> bool:
        state[node] = 1
        for other in after[node]:
            if state[other] == 1 or (not state[other] and not visit(other)):
                return False
        state[node] = 2
        return True

    return all(state[n] or visit(n) for n in range(count))
