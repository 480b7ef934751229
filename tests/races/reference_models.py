"""What programs of :mod:`litmus` may do: every state of an abstract machine, by plain search.

Each CPU has a list of what it has stored and others do not see; a store goes in at its end, a load
takes the CPU's own newest one or what memory has. What leaves the list, and when, is the model:
"tso" is that of Owens, Sarkar and Sewell; "weak" lets a store leave before others to other places,
unless a ``wmb`` stands between them or it is a release. ``None`` has no lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from races.litmus import PLACES, Op

__all__ = ["outcomes"]

State = tuple[Any, ...]
"""(Memory, for each CPU (number of the next instruction, registers, list))."""


def outcomes(model: str | None, programs: list[list[Op]]) -> set[tuple[Any, ...]]:
    """Every (registers by CPU, memory) that there can be in the end."""
    begin = ((0,) * len(PLACES), tuple((0, (), ()) for _ in programs))
    seen, todo, found = {begin}, [begin], set()
    while todo:
        state = todo.pop()
        memory, cpus = state
        ends = zip(cpus, programs, strict=True)
        if all(at == len(ops) and not late for (at, _, late), ops in ends):
            found.add((tuple(loaded for _, loaded, _ in cpus), memory))
        for new in _steps(model, state, programs):
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return found


def _steps(model: str | None, state: State, programs: list[list[Op]]) -> Iterator[State]:
    memory, cpus = state
    for cpu, (at, loaded, late) in enumerate(cpus):

        def with_cpu(new_memory: Any, *new: Any, cpu: int = cpu) -> State:
            return new_memory, (*cpus[:cpu], new, *cpus[cpu + 1 :])

        for number, (kind, place, value) in enumerate(late):
            if kind != "wmb" and _may_leave(model, late, number):
                left = late[:number] + late[number + 1 :]
                while left and left[0][0] == "wmb":
                    left = left[1:]
                yield with_cpu(_set(memory, place, value), at, loaded, left)
        if at == len(programs[cpu]):
            continue
        op = programs[cpu][at]
        if op.kind in ("store", "release"):
            if model is None:
                yield with_cpu(_set(memory, op.place, op.value), at + 1, loaded, late)
            else:
                yield with_cpu(memory, at + 1, loaded, (*late, tuple(op)))
        elif op.kind == "wmb":
            more = (("wmb", "", 0),) if model == "weak" and late else ()
            yield with_cpu(memory, at + 1, loaded, late + more)
        elif op.kind == "mb":
            if not late:
                yield with_cpu(memory, at + 1, loaded, late)
        elif op.kind == "xchg":
            if not late:
                old = memory[PLACES.index(op.place)]
                new = _set(memory, op.place, op.value)
                yield with_cpu(new, at + 1, (*loaded, old), late)
        elif op.kind == "load" or not any(kind == "release" for kind, _, _ in late):
            own = [value for _, place, value in late if place == op.place]
            value = own[-1] if own else memory[PLACES.index(op.place)]
            yield with_cpu(memory, at + 1, (*loaded, value), late)


def _may_leave(model: str | None, late: Any, number: int) -> bool:
    before = late[:number]
    if model != "weak" or late[number][0] == "release":
        return all(kind == "wmb" for kind, _, _ in before)
    return not any(kind == "wmb" or place == late[number][1] for kind, place, _ in before)


def _set(memory: Any, place: str, value: int) -> Any:
    at = PLACES.index(place)
    return (*memory[:at], value, *memory[at + 1 :])
