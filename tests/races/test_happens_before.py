"""What orders two accesses, and what is told of those that nothing orders, on runs made up here."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from kprobesim.races.access_kinds import AccessKinds, How, Update
from kprobesim.races.happens_before import HappensBefore
from kprobesim.races.run_log import RunLog

READ, WRITE = 16, 17
FLAG, DATA, COUNT = 0x1000, 0x2000, 0x3000
PLAIN, ATOMIC, UPDATE, COPY, ADD = range(1, 6)  # the addresses of instructions
KINDS = {ATOMIC: How.ATOMIC, UPDATE: How.UPDATE, COPY: How.MANY}

Step = tuple[int, int, int, int, int, int]
"""CPU, instruction, READ or WRITE, address, size, value."""


class Kinds(AccessKinds):
    """Knows the instructions above."""

    def __init__(self) -> None:
        super().__init__("x86_64", lambda address, size: bytes(size), lambda pc: "")

    def at(self, pc: int) -> int:
        return KINDS.get(pc, How.PLAIN)

    def update(self, load: int, store: int) -> Update:
        return Update.NUMBER if (load, store) == (PLAIN, ADD) else Update.NONE


def conflicts(steps: Sequence[Step], *, every: bool = False) -> list[str]:
    records, marks = b"", []
    for number, (cpu, pc, kind, address, size, value) in enumerate(steps):
        records += struct.pack("<QQQqII", 1, pc, address, value, size, kind)
        marks.append((number, cpu, number))
    log = RunLog(records, marks)
    found = HappensBefore(Kinds(), 2).conflicts(log, every=every)
    return [conflict.what for conflict in found]


def store(cpu: int, address: int, value: int = 1, pc: int = PLAIN, size: int = 8) -> list[Step]:
    return [(cpu, pc, WRITE, address, size, value)]


def load(cpu: int, address: int, pc: int = PLAIN, size: int = 8) -> list[Step]:
    return [(cpu, pc, READ, address, size, 0)]


def atomic(cpu: int, address: int, value: int) -> list[Step]:
    return load(cpu, address, ATOMIC, 4) + store(cpu, address, value, ATOMIC, 4)


def update(cpu: int, address: int, value: int) -> list[Step]:
    return load(cpu, address, UPDATE) + store(cpu, address, value, UPDATE)


COPIED = store(0, DATA, 7, COPY)

CASES = {
    "two copies": (COPIED + store(1, DATA, 8, COPY), ["torn"]),
    "a copy and a load of it": (COPIED + load(1, DATA), ["torn"]),
    "of other bytes": (
        store(0, DATA, 7, COPY, 4) + store(1, DATA + 4, 7, COPY, 4),
        [],
    ),
    "a flag between": (COPIED + store(0, FLAG) + load(1, FLAG) + load(1, DATA, COPY), []),
    "a flag that is looked at too early": (
        load(1, FLAG) + COPIED + store(0, FLAG) + load(1, DATA, COPY),
        ["torn"],
    ),
    "a lock": (
        atomic(0, FLAG, 1) + COPIED + store(0, FLAG, 0, size=1)
        + atomic(1, FLAG, 1) + store(1, DATA, 8, COPY),
        [],
    ),
    "two locks": (
        atomic(0, FLAG, 1) + COPIED + store(0, FLAG, 0)
        + atomic(1, COUNT, 1) + store(1, DATA, 8, COPY),
        ["torn"],
    ),
    "two updates": (update(0, DATA, 1) + update(1, DATA, 2), ["torn"]),
    "an update and a load": (update(0, DATA, 1) + load(1, DATA), []),
    "an update and an atomic one": (update(0, DATA, 1) + atomic(1, DATA, 2), ["torn"]),
    "atomic ones": (atomic(0, DATA, 1) + atomic(1, DATA, 2), []),
    "a bit that was set before": (
        atomic(0, DATA, 1) + atomic(1, DATA, 1) + store(0, DATA, 0, UPDATE, 4),
        [],
    ),
    "a lost update": (
        load(0, DATA) + load(1, DATA) + store(1, DATA, 1, ADD) + store(0, DATA, 1, ADD),
        ["lost update"],
    ),
    "one after the other": (
        load(0, DATA) + store(0, DATA, 1, ADD) + load(1, DATA) + store(1, DATA, 2, ADD),
        [],
    ),
    "a store of something else": (load(0, DATA) + store(1, DATA, 5) + store(0, DATA, 6), []),
    "across two words": (
        store(0, DATA + 4, 7) + store(1, DATA + 8, 7, size=4),
        ["torn"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "found"), CASES.values(), ids=CASES)
def test_what_is_told(steps: list[Step], found: list[str]) -> None:
    assert conflicts(steps) == found


def test_marked_ones_are_told_on_request() -> None:
    assert conflicts(store(0, DATA, 5) + load(1, DATA), every=True) == ["unordered"]
    assert conflicts(store(0, DATA, 5) + store(1, DATA, 6), every=True) == ["unordered"]
    assert conflicts(store(0, FLAG) + load(1, FLAG) + store(1, FLAG, 2)) == []


@pytest.mark.parametrize(("again", "found"), [(True, []), (False, ["torn"])])
def test_a_sequence_counter_guards_its_reader(again: bool, found: list[str]) -> None:
    steps = load(1, COUNT, size=4)
    steps += load(1, DATA, COPY)
    steps += store(0, COUNT, 1, size=4) + store(0, DATA, 7) + store(0, COUNT, 2, size=4)
    steps += load(1, COUNT, size=4) if again else []
    assert conflicts(steps) == found
