"""The machine code that stands in for an interrupt controller and a hypervisor of Unicorn's."""

from __future__ import annotations

import struct

import pytest
from makers.host_cpu import HostCpu

from kprobesim.machine.unicorn import intercepts_code
from kprobesim.machine.unicorn.intercepts_code import ENTRY, ENTRY_BYTES, WORDS

TABLE, ENV, COUNTER, EXTRA, REQUESTS, MSRS, ON_MSR = (0x3000 + 0x100 * n for n in range(7))
CPU, RCX, RIP = 0x7777_0000, ENV + 8, ENV + 128
MSR, READS, WRITES = 0x7C, 0, 1
ANSWERS = {  # functions that answer 1, or 0
    "x86_64": (b"\xb8\1\0\0\0\xc3", b"\x31\xc0\xc3"),
    "aarch64": (
        struct.pack("<2I", 0x52800020, 0xD65F03C0),
        struct.pack("<2I", 0x52800000, 0xD65F03C0),
    ),
}


class Engines(HostCpu):
    """A CPU with the code, and two engines in its table: the second one is asked for."""

    def __init__(self, host: str) -> None:
        reals = ("real_intercept", "real_deliver", "loop_exit")
        super().__init__(host, intercepts_code.CODE[host], reals)
        self.put_words(WORDS, {"table": TABLE, "count": 2})
        self.set(env=ENV, cpu=CPU, msrs=MSRS, on_msr=ON_MSR, counter=COUNTER, extra=EXTRA)
        self.set(requests=REQUESTS, vector=0x41)
        for n, word in enumerate((0x1B, 1, 0x800, 0x40, 0, 0)):
            self.put(MSRS + 8 * n, word)
        self.put(EXTRA, 0)
        self.put(RIP, 0x1000)
        self.put(COUNTER, 50)
        self.put(COUNTER + 8, 90)
        self.answer(done=True)

    def answer(self, *, done: bool) -> None:
        code = ANSWERS[self.host][not done]
        self.ram[ON_MSR : ON_MSR + len(code)] = code
        self.engine.forget_code(ON_MSR, ON_MSR + 16)

    def set(self, **values: int) -> None:
        for name, value in values.items():
            self.put(TABLE + ENTRY_BYTES + 8 * ENTRY.index(name), value)

    def entry(self, name: str) -> int:
        return self.get(TABLE + ENTRY_BYTES + 8 * ENTRY.index(name))

    def msr(self, number: int, kind: int) -> str:
        self.put(RCX, 0xFFFF_FFFF_0000_0000 | number)
        return self.call("intercept", ENV, MSR, kind, 0x1234)[0]


@pytest.fixture(params=sorted(intercepts_code.CODE))
def engines(request: pytest.FixtureRequest) -> Engines:
    return Engines(str(request.param))


def test_other_engines_and_other_questions_go_on_to_unicorn(engines: Engines) -> None:
    arguments = (0x9999, MSR, 0, 0x1234)
    assert engines.call("intercept", *arguments)[0] == "real_intercept"
    where, given = engines.call("intercept", ENV, 0x72, 0, 0x1234)
    assert (where, given[:4]) == ("real_intercept", (ENV, 0x72, 0, 0x1234))
    assert engines.call("deliver", 0x9999, 0, 1)[0] == "real_deliver"


@pytest.mark.parametrize("number", [0x1A, 0x1C, 0x7FF, 0x840, 0xC000_0100])
def test_registers_of_nobody_are_unicorns(engines: Engines, number: int) -> None:
    for kind in (READS, WRITES):
        assert engines.msr(number, kind) == "real_intercept"
    assert engines.get(RIP) == 0x1000


@pytest.mark.parametrize("number", [0x1B, 0x800, 0x83F])
def test_a_read_is_over_and_a_write_goes_on(engines: Engines, number: int) -> None:
    assert engines.msr(number, WRITES) == ""
    assert engines.get(RIP) == 0x1000
    assert engines.msr(number, READS) == "loop_exit"
    assert engines.get(RIP) == 0x1002
    engines.answer(done=False)
    assert engines.msr(number, READS) == "real_intercept"
    assert engines.get(RIP) == 0x1002


def test_an_interrupt_gets_its_vector(engines: Engines) -> None:
    where, arguments = engines.call("deliver", ENV, 0, 1)
    assert (where, arguments[:3]) == ("real_deliver", (ENV, 0x41, 1))
    assert engines.entry("taken") == 1
    assert engines.get(COUNTER + 8) == 90
    engines.set(ends_when_taken=1)
    assert engines.call("deliver", ENV, 0, 1)[0] == "real_deliver"
    assert engines.get(COUNTER + 8) == 50, "the run ends at the next block"
    where, arguments = engines.call("deliver", ENV, 2, 1)
    assert (where, arguments[:3]) == ("real_deliver", (ENV, 2, 1)), "an NMI has one"
    assert engines.entry("taken") == 2


def test_while_an_instruction_is_stepped_it_waits(engines: Engines) -> None:
    engines.put(EXTRA, 3)
    engines.put(REQUESTS, 0x200)
    assert engines.call("deliver", ENV, 0, 1)[0] == ""
    assert engines.entry("taken") == 0
    assert engines.get(REQUESTS) == 0x202, "it is requested again"
    assert engines.get(COUNTER + 8) == 53, "and the run ends behind the step"
