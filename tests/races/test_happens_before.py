"""What orders two accesses, and what is told of those that nothing orders, on runs made up here."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from kprobesim.races.conflicts.access_kinds import AccessKinds, How, Update
from kprobesim.races.conflicts.happens_before import HappensBefore
from kprobesim.races.order import Order
from kprobesim.races.run_log import RunLog

READ, WRITE, MARK = 16, 17, 1
FLAG, DATA, COUNT = 0x1000, 0x2000, 0x3000
# The addresses of instructions:
PLAIN, ATOMIC, UPDATE, COPY, ADD, RELEASE, ACQUIRE, FREE, DMB, DMB_LD = range(1, 11)
KINDS = {
    ATOMIC: How.ATOMIC,
    UPDATE: How.UPDATE,
    COPY: How.MANY,
    RELEASE: How.RELEASE,
    ACQUIRE: How.ACQUIRE,
    DMB: How.FENCE,
    DMB_LD: How.ACQUIRE,
    FREE: How.FREES,
}

Step = tuple[int, int, int, int, int, int]
"""CPU, instruction, READ or WRITE, address, size, value."""


class Kinds(AccessKinds):
    """Knows the instructions above."""

    def __init__(self, arch: str) -> None:
        super().__init__(arch, lambda address, size: bytes(size), lambda pc: "")

    def at(self, pc: int) -> int:
        return KINDS.get(pc, How.PLAIN)

    def update(self, load: int, store: int) -> Update:
        return Update.NUMBER if (load, store) == (PLAIN, ADD) else Update.NONE


def conflicts(
    steps: Sequence[Step],
    *,
    every: bool = False,
    arch: str = "x86_64",
    orders: Sequence[Order] = (),
) -> list[str]:
    records, marks = b"", []
    for number, (cpu, pc, kind, address, size, value) in enumerate(steps):
        records += struct.pack("<QQQqII", 1, pc, address, value, size, kind)
        marks.append((number, cpu, number))
    log = RunLog(records, marks)
    found = HappensBefore(Kinds(arch), 2).conflicts(log, orders, every=every)
    return [conflict.what for conflict in found]


def store(cpu: int, address: int, value: int = 1, pc: int = PLAIN, size: int = 8) -> list[Step]:
    return [(cpu, pc, WRITE, address, size, value)]


def load(cpu: int, address: int, pc: int = PLAIN, size: int = 8) -> list[Step]:
    return [(cpu, pc, READ, address, size, 0)]


def barrier(cpu: int, pc: int = DMB) -> list[Step]:
    return [(cpu, pc, MARK, 0, 0, 0)]


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
    "a lost update, and a look at its neighbour": (
        load(0, DATA, size=4) + load(0, DATA + 4, size=4) + load(1, DATA, size=4)
        + store(1, DATA, 1, ADD, 4) + store(0, DATA, 1, ADD, 4),
        ["lost update"],
    ),
    "of another member in the same word": (
        load(0, DATA, size=4) + store(1, DATA + 4, 1, ADD, 4) + store(0, DATA, 1, ADD, 4), [],
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


SEES = load(1, FLAG, ACQUIRE) + load(1, DATA)
PUBLISHED = {
    "by plain stores": (store(0, DATA, 7) + store(0, FLAG) + SEES, ["early"]),
    "and looked for behind a barrier": (
        store(0, DATA, 7) + store(0, FLAG) + load(1, FLAG) + barrier(1, DMB_LD) + load(1, DATA),
        ["early"],
    ),
    "and looked for by plain loads": (
        store(0, DATA, 7) + store(0, FLAG) + load(1, FLAG) + load(1, DATA), ["unordered"],
    ),
    "by a release": (store(0, DATA, 7) + store(0, FLAG, pc=RELEASE) + SEES, []),
    "behind a barrier": (store(0, DATA, 7) + barrier(0) + store(0, FLAG) + SEES, []),
    "with another CPU's barrier": (
        store(0, DATA, 7) + barrier(1) + store(0, FLAG) + SEES, ["early"],
    ),
    "with a barrier too late": (
        store(0, DATA, 7) + store(0, FLAG) + barrier(0) + SEES, ["early"],
    ),
    "with a barrier for loads": (
        store(0, DATA, 7) + barrier(0, DMB_LD) + store(0, FLAG) + SEES, ["early"],
    ),
    "a copy": (COPIED + store(0, FLAG) + load(1, FLAG) + load(1, DATA, COPY), ["torn"]),
    "what was only read": (load(0, DATA, COPY) + store(0, FLAG) + load(1, FLAG)
                           + store(1, DATA, 5), []),
    "what another CPU has released": (
        store(1, DATA, 7) + store(1, FLAG, pc=RELEASE) + load(0, FLAG) + store(0, COUNT)
        + load(1, COUNT) + store(1, DATA, 8, COPY), [],
    ),
    "its neighbour in the same word": (
        store(0, DATA, 7, size=4) + store(0, FLAG + 4, size=4)
        + load(1, FLAG, size=4) + load(1, DATA, size=4), [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "found"), PUBLISHED.values(), ids=PUBLISHED)
def test_stores_that_others_may_see_in_another_order(steps: list[Step], found: list[str]) -> None:
    assert conflicts(steps, arch="arm64") == found
    assert conflicts(steps) == []


def test_what_is_freed_is_told_whatever_it_is() -> None:
    assert conflicts(load(0, DATA) + store(1, DATA, 5, FREE)) == ["freed"]
    assert conflicts(store(0, DATA, 5, FREE) + store(1, DATA, 5)) == ["freed"]
    assert conflicts(store(0, DATA, 5, FREE) + store(1, DATA, 5, FREE)) == []


def test_an_order_knows_what_was_before_it_began() -> None:
    steps = COPIED + store(0, DATA + 8, 7, COPY) + load(1, DATA, COPY) + load(1, DATA + 8, COPY)
    assert conflicts(steps) == ["torn", "torn"]
    assert conflicts(steps, orders=[Order(2, 0, 1, 1)]) == ["torn"]
    assert conflicts(steps, orders=[Order(2, 0, 1, 2)]) == []
    assert conflicts(steps, orders=[Order(3, 0, 1, 2)]) == ["torn"]
    assert conflicts(steps, orders=[Order(2, 1, 0, 2)]) == ["torn", "torn"]


def count(cpu: int, value: int) -> list[Step]:
    return store(cpu, COUNT, value, size=4)


LOOK = load(1, COUNT, size=4)
READ_IT = load(1, DATA, COPY)
WRITTEN = count(0, 1) + store(0, DATA, 7) + count(0, 2)
SEQUENCES = {
    "looked at again": (LOOK + READ_IT + WRITTEN + LOOK, []),
    "not looked at again": (LOOK + READ_IT + WRITTEN, ["torn"]),
    "looked at before only": (LOOK + LOOK + READ_IT + WRITTEN, ["torn"]),
    "counted by the reader, too, before": (
        count(1, 1) + count(1, 2) + LOOK + READ_IT + count(0, 3) + store(0, DATA, 7)
        + count(0, 4) + LOOK, [],
    ),
    "counted by the reader in between": (
        LOOK + READ_IT + count(1, 1) + count(1, 2) + store(0, DATA, 7) + LOOK, ["torn"],
    ),
    "a latch, whose second copy is written at an even count": (
        LOOK + READ_IT + count(0, 1) + store(0, DATA + 8, 7) + count(0, 2) + store(0, DATA, 7)
        + LOOK, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "found"), SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence_counter_guards_its_reader(steps: list[Step], found: list[str]) -> None:
    assert conflicts(steps) == found
