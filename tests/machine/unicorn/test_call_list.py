"""Lists of C functions: on this host, and the machine code of every host in an emulated CPU."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest

from kprobesim.machine.unicorn.call_list import (
    CODE,
    STEP,
    Buffer,
    compare,
    copy,
    find_call_list,
    succeed,
)
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import assemble

# Stores its five arguments behind each other at its first one, and returns the fifth.
_STORE = {
    "x86_64": "48893f488977084889571048894f184c8947204c89c0c3",
    "aarch64": "000400a9020c01a9041000f9e00304aac0035fd6",
}
_CPUS = {"x86_64": ("x86_64", b"\xf4"), "aarch64": ("arm64", struct.pack("<I", 0xD503207F))}


def test_steps_are_done_until_one_fails() -> None:
    make = find_call_list()
    assert make is not None
    source, target, other = Buffer(16), Buffer(16), Buffer(16)
    source.bytes[:] = other.bytes[:] = b"sixteen letters."
    calls = make(4)
    steps = [
        copy(target.address, source.address, 16),
        compare(target.address, other.address, 16),
        succeed(copy(0, 0, 0)[0], (target.address, source.address, 0)),
        copy(source.address, other.address, 0),
    ]
    calls.words[:] = memoryview((ctypes.c_uint64 * (4 * STEP))(*sum(steps, ()))).cast("B").cast("Q")
    for holding in (True, False):
        target.bytes[:] = bytes(16)
        assert calls.run(0, 4, holding=holding) == 2  # memcpy answers with an address
        assert bytes(target.bytes) == b"sixteen letters."
        assert calls.run(3, 4, holding=holding) == 4
        other.bytes[15] = 0
        assert calls.run(0, 4, holding=holding) == 1
        other.bytes[15] = ord(".")


@pytest.mark.parametrize("host", sorted(CODE))
def test_the_machine_code(host: str) -> None:
    arch, halt = _CPUS[host]
    engine, ram = Engine(arch), mmap.mmap(-1, 0x8000)
    engine.map_ram(0, 0x8000, ctypes.addressof(ctypes.c_char.from_buffer(ram)))
    code, labels = assemble(CODE[host])
    ram[0x2000 : 0x2000 + len(code)] = code
    store = bytes.fromhex(_STORE[host])
    ram[0x3000 : 0x3000 + len(store)] = store
    ram[0x3100 : 0x3100 + len(halt)] = halt
    for number, answer in enumerate((0, 2, 1, 0)):
        at = 0x4000 + number * 64
        step = 0x3000, 0x5000 + number * 64, 11, 12, 13, answer, 1, 0
        ram[at : at + 64] = struct.pack("<8Q", *step)
    words = engine.words
    if host == "x86_64":
        words[7], words[6], words[4] = 0x4000, 4, 0x6000
        ram[0x6000:0x6008] = struct.pack("<Q", 0x3100)
        kept = {3: 33, 12: 44}  # rbx, r12
    else:
        words[0], words[1], words[31], words[30] = 0x4000, 4, 0x6000, 0x3100
        kept = {19: 33, 20: 44, 29: 55}
    for number, value in kept.items():
        words[number] = value
    assert engine.run(0x2000 + labels["call_list"]) == 0
    assert words[engine.layout.pc] == 0x3100 + len(halt)
    assert words[0] == 2  # the third step ended it
    assert {number: words[number] for number in kept} == kept
    assert words[4 if host == "x86_64" else 31] == (0x6008 if host == "x86_64" else 0x6000)
    done = [struct.unpack_from("<5Q", ram, 0x5000 + n * 64) for n in range(4)]
    assert done[:3] == [(0x5000 + n * 64, 11, 12, 13, a) for n, a in enumerate((0, 2, 1))]
    assert done[3] == (0,) * 5
