"""Instructions that read the time without Python: as the clock itself reads it."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest
from makers.host_cpu import HostCpu

from kprobesim.boot.virtual_time import READ_NS, VirtualTime
from kprobesim.machine.unicorn import clock_code, clock_reads
from kprobesim.machine.unicorn.engine import Engine

DATA, TIME, COUNTER, REGISTERS, NUMBERS = 0x3000, 0x3100, 0x3200, 0x3300, 0x3800
BLOCK_NS, READ_COUNTS, SHIFT, BASE = 8, 32, 4, 5 << 32
ZERO, X5 = 40, 41  # what Unicorn might call two registers


@pytest.fixture(params=sorted(clock_code.CODE))
def host(request: pytest.FixtureRequest) -> HostCpu:
    cpu = HostCpu(request.param, clock_code.CODE[request.param], ())
    values = (TIME, COUNTER, REGISTERS, READ_NS, READ_COUNTS, NUMBERS, SHIFT)
    for number, value in enumerate(values):
        cpu.put(DATA + 8 * number, value)
    cpu.ram[NUMBERS : NUMBERS + 256] = bytes([clock_code.NO_WORD]) * 256
    cpu.ram[NUMBERS + X5] = 5
    cpu.put(TIME, BASE)
    cpu.put(TIME + 8, BLOCK_NS)
    return cpu


def count(host: HostCpu, counted: int, limit: int) -> None:
    host.put(COUNTER, counted)
    host.put(COUNTER + 8, limit)


@pytest.mark.parametrize("limit", [100, 1000, 1 << 62])
@pytest.mark.parametrize("label", ["rdtsc", "rdtscp"])
def test_tsc(host: HostCpu, label: str, limit: int) -> None:
    for register in range(3):
        host.put(REGISTERS + 8 * register, ~0 & (1 << 64) - 1)
    count(host, 90, limit)
    assert host.call(label, 1, DATA)[0] == ""
    now = BASE + READ_NS + 90 * BLOCK_NS
    ax, cx, dx = (host.get(REGISTERS + 8 * register) for register in range(3))
    assert (ax, dx) == (now & 0xFFFF_FFFF, now >> 32)
    assert cx == (0 if label == "rdtscp" else (1 << 64) - 1)
    assert (host.get(TIME), host.result) == (BASE + READ_NS, 1)
    assert host.get(COUNTER + 8) == max(90, limit - READ_COUNTS)


def test_counter(host: HostCpu) -> None:
    count(host, 90, 1000)
    host.call("mrs", 1, ZERO, 2, DATA)
    assert (host.get(TIME), host.get(COUNTER + 8), host.result) == (BASE, 1000, 1)
    host.call("mrs", 1, X5, 2, DATA)
    assert host.get(REGISTERS + 8 * 5) == BASE + READ_NS + 90 * BLOCK_NS >> SHIFT
    assert (host.get(COUNTER + 8), host.result) == (1000 - READ_COUNTS, 1)


READS = {  # two reads, the second into another register where there is one
    "x86_64": bytes.fromhex("0f31 4889c6 eb00 0f01f9 f4"),
    "arm64": struct.pack("<4I", 0xD53BE040, 0x14000001, 0xD53BE057, 0xD503207F),
}
REGISTER = {"x86_64": (6, 0, 2, 1), "arm64": (0, 23)}


def state(arch: str, native: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """What two reads leave behind."""
    engine, ram = Engine(arch), mmap.mmap(-1, 1 << 16)
    engine.stop_between_blocks()
    engine.count_blocks()
    engine.map_ram(0, len(ram), ctypes.addressof(ctypes.c_char.from_buffer(ram)))
    if not native:
        monkeypatch.setattr(clock_reads, "_functions", lambda: None)
    clock = VirtualTime(engine)
    clock.spend(1 << 33)
    reads = clock.native_reads()
    assert (reads is not None) == native
    if arch == "x86_64":
        engine.hooks.on_read_tsc(clock.read, reads)
    else:
        for place in (0x1000, 0x1008):
            engine.hooks.on_read_counter(place, clock.read, reads)
    ram[0x1000 : 0x1000 + len(READS[arch])] = READS[arch]
    clock.begin()
    assert engine.run(0x1000, 1000) == 0
    left = engine.counter
    clock.end()
    return clock.now(), left, *(engine.words[number] for number in REGISTER[arch])


def test_the_same_as_in_python(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = state(arch, True, monkeypatch)
    assert done == state(arch, False, monkeypatch)
    assert done[0] == (1 << 33) + 2 * READ_NS + 2 * BLOCK_NS
