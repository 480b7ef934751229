"""The machine code that puts another CPU in, run in an emulated CPU: for hosts of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from makers.host_cpu import HostCpu

from kprobesim.machine.unicorn import flush_code
from kprobesim.machine.unicorn.switch_code import CODE, CPU, DATA

DATA_AT, OLD, NEW, CHECKS = 0x5000, 0x5100, 0x5140, 0x5180
REGISTERS, TLB, JUMPS, OTHERS = 0x5200, 0x5300, 0x5400, 0x5500
OLD_REGISTERS, OLD_TLB, NEW_REGISTERS, NEW_TLB = 0x5600, 0x5700, 0x5800, 0x5900
DIRTY, FORGOTTEN, MONITOR = OTHERS, OTHERS + 8, OTHERS + 16
JUMP_WORDS = 8


class Host(HostCpu):
    """A CPU of a host, with the code, and two CPUs of a guest with a few words each."""

    def __init__(self, host: str, words: int) -> None:
        super().__init__(host, CODE[host], ["flush"])
        self.words = words
        values = {
            "current": OLD,
            "registers": REGISTERS,
            "register_words": words,
            "compared": CHECKS,
            "tlb": TLB,
            "tlb_words": words + 1,
            "dirty": DIRTY,
            "forgotten": FORGOTTEN,
            "jumps": JUMPS,
            "jump_words": JUMP_WORDS,
            "flush": self.reals["flush"],
            "cpu": 0x1234,
            "monitor": MONITOR,
        }
        self.put_all(DATA_AT, [values[name] for name in DATA])
        old = {"registers": OLD_REGISTERS, "tlb": OLD_TLB, "dirty": 0, "forgotten": 0}
        new = {"registers": NEW_REGISTERS, "tlb": NEW_TLB, "dirty": 5, "forgotten": 7}
        self.put_all(OLD, [old[name] for name in CPU])
        self.put_all(NEW, [new[name] for name in CPU])
        self.put_all(REGISTERS, range(100, 100 + words + 1))
        self.put_all(TLB, range(200, 200 + words + 2))
        self.put_all(NEW_REGISTERS, range(300, 300 + words + 1))
        self.put_all(NEW_TLB, range(400, 400 + words + 2))
        self.put_all(JUMPS, [9] * (JUMP_WORDS + 1))
        self.put_all(OTHERS, [3, 7, 0])
        self.put_all(CHECKS, [0, 0, 0])

    def put_all(self, at: int, values: Sequence[int] | range) -> None:
        for number, value in enumerate(values):
            self.put(at + 8 * number, value)

    def all(self, at: int, count: int) -> list[int]:
        return [self.get(at + 8 * number) for number in range(count)]

    def switch(self) -> str:
        kept = self.engine.words[19:22]
        where, arguments = self.call("switch_cpu", DATA_AT, NEW)
        if where:
            assert arguments[:2] == (0x1234, 0xFFFF)
        elif self.host == "aarch64":
            assert self.engine.words[19:22] == kept
        return where


@pytest.fixture(params=[f"{host}-{words}" for host in sorted(CODE) for words in (4, 5)])
def host(request: pytest.FixtureRequest) -> Host:
    """Each kind, with an even and an odd number of words."""
    name, words = request.param.split("-")
    return Host(name, int(words))


def test_registers_and_tlbs_change_places(host: Host) -> None:
    assert host.switch() == ""
    words = host.words
    assert host.all(OLD_REGISTERS, words + 1) == [*range(100, 100 + words), 0]
    assert host.all(REGISTERS, words + 1) == [*range(300, 300 + words), 100 + words]
    assert host.all(OLD_TLB, words + 2) == [*range(200, 200 + words + 1), 0]
    assert host.all(TLB, words + 2) == [*range(400, 400 + words + 1), 200 + words + 1]
    assert host.all(OLD, 4)[2:] == [3, 7]
    assert host.all(OTHERS, 3) == [5, 7, 2**64 - 1]
    assert host.get(DATA_AT) == NEW
    assert host.all(JUMPS, JUMP_WORDS) == [9] * JUMP_WORDS


@pytest.mark.parametrize("mask, cleared", [(0xF, True), (0xF00, False)])
def test_jumps_are_dropped_where_addresses_mean_something_else(
    host: Host, mask: int, cleared: bool
) -> None:
    host.put_all(CHECKS, [1 << 60, 8, mask, 16, 0])  # of 0x66 and 0x6a
    host.put(NEW_REGISTERS + 16, 0x6A)
    assert host.switch() == ""
    assert host.all(JUMPS, JUMP_WORDS + 1) == [0 if cleared else 9] * JUMP_WORDS + [9]


def test_who_has_not_heard_of_a_flush_begins_with_nothing(host: Host) -> None:
    host.put(FORGOTTEN, 8)
    assert host.switch() == "flush"
    assert host.all(TLB, 2) == [400, 401]
    assert host.all(OLD, 4)[2:] == [3, 8]


@pytest.mark.parametrize("kind", sorted(flush_code.CODE))
def test_what_drops_translations_is_counted(kind: str) -> None:
    names = flush_code.WORDS[1:]
    host = HostCpu(kind, flush_code.CODE[kind], names)
    host.put_words(flush_code.WORDS, {"counter": 0x120})
    for number, name in enumerate(names):
        host.put(0x5120, number)
        arguments = (0x5000, 1, 2, 3, 4)
        assert host.call(name.removeprefix("real_"), *arguments) == (name, arguments)
        assert host.get(0x5120) == number + 1
