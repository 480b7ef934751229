"""A guest that spins is noticed at its instruction for that, wherever it is, and its run ends."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest
from makers.host_cpu import REALS, HostCpu

from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.spin_code import CODE, ENTRY, WORDS
from kprobesim.machine.unicorn.spins import Spins, watch_spins

START, BLOCKS = 0x1000, 1000
_NOP, _ADD = 0xD503201F, 0x91000400  # add x0, x0, #1
_SPINNING = {  # the instruction; a count in the first register; and back
    "x86_64": {"pause": bytes.fromhex("f390 48ffc0 ebf9"), "nothing": bytes.fromhex("48ffc0 ebfb")},
    "arm64": {
        "yield": struct.pack("<3I", 0xD503203F, _ADD, 0x17FFFFFE),
        "wfe": struct.pack("<3I", 0xD503205F, _ADD, 0x17FFFFFE),
        "nothing": struct.pack("<3I", _NOP, _ADD, 0x17FFFFFE),
    },
}


def spinning(arch: str, code: bytes) -> tuple[Engine, Spins, mmap.mmap]:
    engine, ram = Engine(arch), mmap.mmap(-1, 1 << 16)
    engine.stop_between_blocks()
    engine.count_blocks()
    engine.map_ram(0, len(ram), ctypes.addressof(ctypes.c_char.from_buffer(ram)))
    ram[START : START + len(code)] = code
    return engine, watch_spins(engine), ram


def test_a_run_ends_behind_one_more_block(arch: str) -> None:
    for name, code in _SPINNING[arch].items():
        engine, spins, _ram = spinning(arch, code)
        spins.end_turns(True)
        for turn in (1, 2):
            assert engine.run(START, BLOCKS) == 0
            if name == "nothing":
                assert (engine.words[0], spins.take()) == (turn * BLOCKS, 0)
            else:
                assert (engine.words[0], spins.take()) == (turn, 2), name
                assert spins.take() == 0


def test_one_that_is_alone_goes_on(arch: str) -> None:
    code = next(iter(_SPINNING[arch].values()))
    engine, spins, _ram = spinning(arch, code)
    engine.run(START, BLOCKS)
    alone = engine.words[0]
    assert alone > BLOCKS // 4 and not spins.take()
    assert watch_spins(engine) is spins  # whoever asks second would be told of none
    other, watched, _other_ram = spinning(arch, code)
    watched.end_turns(True)
    assert other.run(START, BLOCKS) == 0 and watched.take() and not spins.take()


@pytest.mark.parametrize("host", sorted(CODE))
def test_the_machine_code_of_each_host(host: str) -> None:
    """Where it returns to tells a spin; the limit becomes lower only, and if that is asked for."""
    h = HostCpu(host, CODE[host], ["real"])
    table, counter, words, cpu, caller = 0x5000, 0x6000, 0x6100, 0x1111, REALS - 16
    values = {"table": table, "count": 2, "site": caller}
    h.put_words(WORDS, values)
    for number, value in enumerate((cpu, counter, words)):
        h.put(table + 8 * len(ENTRY) + 8 * number, value)
    for number, before, limit, after, noted in (
        *((cpu, 0, 9, 6, 6), (cpu, 0, 6, 6, 6), (cpu, 0, 5, 5, 6)),
        *((cpu, 4, 9, 9, 4), (7, 0, 9, 9, 0)),
    ):
        h.put(counter, 5)
        h.put(counter + 8, limit)
        h.put(words, 1)
        h.put(words + 8, before)
        name, arguments = h.call("leave", number)
        assert (name, arguments[0]) == ("real", number)
        assert (h.get(counter + 8), h.get(words + 8)) == (after, noted)
    h.put(words, 0)
    h.put(words + 8, 0)
    assert h.call("leave", cpu)[0] == "real"
    assert h.get(words + 8) == 0
    for seen in (0, 5):
        h.put_words(WORDS, {**values, "site": 0, "seen": seen})
        assert h.call("leave", cpu)[0] == "real"
        assert h.get(0x1000 + 8 * WORDS.index("seen")) == (seen or caller)
