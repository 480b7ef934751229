"""Counting blocks instead of instructions."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest

from kprobesim.machine.unicorn.engine import Engine

_LOOPS = {
    "arm64": struct.pack("<3I", 0xD503201F, 0x91000400, 0x17FFFFFE),  # nop; add x0, x0, #1; b
    "x86_64": bytes.fromhex("9048ffc0ebfa"),  # nop; inc rax; jmp
}


def make_engine(arch: str) -> tuple[Engine, mmap.mmap]:
    engine, ram = Engine(arch), mmap.mmap(-1, 1 << 16)
    engine.map_ram(0, len(ram), ctypes.addressof(ctypes.c_char.from_buffer(ram)))
    ram[0x1000 : 0x1000 + len(_LOOPS[arch])] = _LOOPS[arch]
    return engine, ram


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_stops_at_the_start_of_the_block_beyond_the_limit(arch: str, limit: int) -> None:
    engine, _ram = make_engine(arch)
    engine.count_blocks()
    for turn in (1, 2):
        assert engine.run(0x1000, limit) == 0
        assert min(engine.counter) == limit
        assert engine.words[0] == turn * limit
        assert engine.words[engine.layout.pc] == 0x1000


def test_a_callback_may_lower_the_limit(arch: str) -> None:
    engine, _ram = make_engine(arch)
    engine.count_blocks()
    calls = []

    def stop_soon(_address: int, _size: int) -> None:
        calls.append(engine.counter_words[0])
        if len(calls) == 5:
            engine.counter_words[1] = engine.counter_words[0]

    engine.on_code(0x1000, stop_soon)
    engine.run(0x1000, 1_000_000)
    assert engine.words[0] == 5 and min(engine.counter) == 5


def test_what_is_counted_may_change(arch: str) -> None:
    """Instructions to the last one, and blocks again; where blocks alone look for a stop, too."""
    for between in (False, True):
        engine, ram = Engine(arch), mmap.mmap(-1, 1 << 16)
        if between:
            engine.stop_between_blocks()
        engine.map_ram(0, len(ram), ctypes.addressof(ctypes.c_char.from_buffer(ram)))
        ram[0x1000 : 0x1000 + len(_LOOPS[arch])] = _LOOPS[arch]
        step = 4 if arch == "arm64" else 1
        for _ in range(2):
            engine.count_instructions()
            engine.run(0x1000, 301)
            assert engine.counting and min(engine.counter) == 301
            assert engine.words[engine.layout.pc] == 0x1000 + step
            engine.count_blocks()
            engine.run(0x1000, 300)
            assert not engine.counting and min(engine.counter) == 300
            assert engine.words[engine.layout.pc] == 0x1000
        assert engine.words[0] == 2 * (100 + 300)
