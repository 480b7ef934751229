"""A CPU's registers as plain data, in particular those that Unicorn keeps pointers for."""

from __future__ import annotations

import struct
from bisect import bisect_right
from pathlib import Path
from typing import Any

import pytest

from kprobesim.errors import EngineError, UsageError
from kprobesim.machine.cpu_state import parse_cpu, save_cpu
from kprobesim.machine.unicorn.engine import Engine


def host_pointers(data: bytes) -> list[int]:
    starts, ends = [0], [0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if low > 0xFFFF_FFFF:
            starts.append(low)
            ends.append(high)
    words = (int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8))
    return [word for word in words if word < ends[bisect_right(starts, word) - 1]]


def bare(arch: str) -> Engine:
    engine = Engine(arch)
    if arch == "arm64":
        engine.write_system(1, 1, 3, 6, 0, 0x531)  # SCR_EL3: EL1 is AArch64
        engine.write_system(1, 1, 3, 4, 0, 1 << 31)
        engine.write_flags(0x3C5)
        engine.write_system(1, 1, 3, 4, 0, 1 << 31)
    return engine


def with_breakpoints(arch: str, at: int = 0x1234) -> Engine:
    """An engine whose guest has debug registers in use, for which Unicorn holds breakpoints."""
    engine = bare(arch)
    if arch == "x86_64":
        # mov dr0, rax; mov dr3, rcx; mov dr7, rdx; hlt: an instruction, and four bytes written
        engine.execute(bytes.fromhex("0f23c0 0f23d9 0f23fa f4"), [at, at + 64, 0xD000_0482])
    else:
        code = (0xD510_0080, 0xD510_00A1, 0xD510_02C2, 0xD510_02E3, 0xD503_207F)
        engine.execute(struct.pack("<5I", *code), [at, 0x1E5, at & ~7, 0x1FFD])
    return engine


def debug(engine: Engine) -> list[int]:
    if engine.arch == "x86_64":
        return [engine.read_register(name) for name in ("dr0", "dr3", "dr7")]
    return [engine.read_system(0, n, 2, 0, op2) for n, op2 in ((0, 4), (0, 5), (2, 6), (2, 7))]


def test_debug_registers_go_over_without_pointers(arch: str) -> None:
    engine = with_breakpoints(arch)
    held = len(host_pointers(engine.read_registers()))
    assert held
    state, before = save_cpu(engine), debug(engine)
    assert host_pointers(state["registers"]) == []
    for other in (bare(arch), with_breakpoints(arch, 0x8888), engine):
        for _ in range(2):
            parse_cpu(other, state)()
            assert debug(other) == before
            assert save_cpu(other) == state
            assert len(host_pointers(other.read_registers())) == held
    none = save_cpu(bare(arch))
    for _ in range(2):
        parse_cpu(engine, none)()
        assert save_cpu(engine) == none
        assert host_pointers(engine.read_registers()) == []


PLACE = 1 << 36  # where Engine.execute() puts code
TARGET = PLACE + 4


def debug_exceptions(engine: Engine) -> int:
    """How many there are in a few instructions at TARGET."""
    seen = []

    def take(_: object, number: int) -> None:
        seen.append((number, engine.words[engine.layout.pc]))
        engine.stop()

    engine.hooks.on_interrupt(take)
    try:
        engine.execute(b"\x90" * 8 + b"\xf4", [])
    except EngineError:
        assert seen
    assert [place for _, place in seen] == [TARGET] * len(seen)
    return len(seen)


def test_a_breakpoint_that_was_carried_over_breaks() -> None:
    """And one that was left behind does not. (ARM64's never do: Unicorn only keeps them.)."""
    for there in (0x8888, TARGET):
        other = with_breakpoints("x86_64", there)
        for at, expected in ((TARGET, 1), (0x8888, 0), (TARGET, 1)):
            parse_cpu(other, save_cpu(with_breakpoints("x86_64", at)))()
            assert debug_exceptions(other) == expected


def test_registers_go_over(arch: str) -> None:
    engine = Engine(arch)
    for number in range(16):
        engine.words[number] = number * 0x0101_0101_0101_0101
    engine.write_vector(3, 0x1122_3344_5566_7788_99AA_BBCC_DDEE_FF00)
    other = Engine(arch)
    parse_cpu(other, save_cpu(engine))()
    assert list(other.words[:16]) == [number * 0x0101_0101_0101_0101 for number in range(16)]
    assert other.read_vector(3) == 0x1122_3344_5566_7788_99AA_BBCC_DDEE_FF00
    assert save_cpu(other) == save_cpu(engine)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("unicorn", "2.1.3"),
        ("arch", "riscv"),
        ("model", "other"),
        ("registers", b""),
        ("registers", bytes(5000)),
        ("registers", "text"),
        ("more", 1),
    ],
)
def test_other_states_are_refused(arch: str, key: str, wrong: Any) -> None:
    engine = Engine(arch)
    state = save_cpu(engine)
    with pytest.raises(UsageError):
        parse_cpu(engine, {**state, key: wrong})
    assert save_cpu(engine) == state


def test_the_engine_checks_the_length(arch: str) -> None:
    engine = Engine(arch)
    with pytest.raises(EngineError, match="bytes of registers"):
        engine.write_registers(engine.read_registers()[:-1])


def test_states_hold_nothing_of_this_computers_time(arch: str) -> None:
    """Unicorn keeps one for PMCCNTR_EL0, which is off, at whatever concerns it."""
    states = []
    for _ in range(2):
        engine = bare(arch)
        if arch == "arm64":
            engine.write_system(9, 12, 3, 3, 0, 0)  # PMCR_EL0
        states.append(save_cpu(engine))
    assert states[0] == states[1]
