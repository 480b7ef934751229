"""What programs of :mod:`litmus` may do: every state of an abstract machine, by plain search.

Each CPU has a list of what it has stored and others do not see; a store goes in at its end and out
at its front, a load takes the CPU's own newest one or what memory has: "tso", of Owens, Sarkar and
Sewell. ``None`` has no lists. "weak" is :mod:`arm64_model`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from races.arm64_model import arm64_outcomes
from races.litmus import PLACES, Op

__all__ = ["outcomes"]

State = tuple[Any, ...]
"""(Memory, for each CPU (number of the next instruction, registers, list))."""


def outcomes(model: str | None, programs: list[list[Op]]) -> set[tuple[Any, ...]]:
    """Every (registers by CPU, memory) that there can be in the end."""
    if model == "weak":
        return arm64_outcomes(programs, in_order=True)
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

        if late:
            yield with_cpu(_set(memory, *late[0][:2]), at, loaded, late[1:])
        if at == len(programs[cpu]):
            continue
        op = programs[cpu][at]
        if op.kind in ("store", "release"):
            if model is None:
                yield with_cpu(_set(memory, op.place, op.value), at + 1, loaded, late)
            else:
                yield with_cpu(memory, at + 1, loaded, (*late, (op.place, op.value, op.kind)))
        elif op.kind in ("mb", "xchg", "swp", "swpa", "swpl", "swpal"):
            if late:
                continue
            if op.kind == "mb":
                yield with_cpu(memory, at + 1, loaded, late)
                continue
            old = memory[PLACES.index(op.place)]
            yield with_cpu(_set(memory, op.place, op.value), at + 1, (*loaded, old), late)
        elif op.kind in ("load", "acquire"):
            if op.kind == "acquire" and any(kind == "release" for _, _, kind in late):
                continue
            own = [value for place, value, _ in late if place == op.place]
            value = own[-1] if own else memory[PLACES.index(op.place)]
            yield with_cpu(memory, at + 1, (*loaded, value), late)
        else:
            yield with_cpu(memory, at + 1, loaded, late)


def _set(memory: Any, place: str, value: int) -> Any:
    at = PLACES.index(place)
    return (*memory[:at], value, *memory[at + 1 :])
