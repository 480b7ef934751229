"""Looking for a stop only where a block starts, and where a hook may leave its block."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable
from typing import Any

import pytest

from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.stop_points import find_switch

START, DEVICE = 0x1000, 0x8000_0000
_LOAD, _ADD, _STORE = "load", "add", "store"
# Registers: 0 counts, 3 (rbx, x3) points to memory, 1 takes what is loaded.
CODE: dict[str, Any] = {
    "arm64": {
        _LOAD: struct.pack("<I", 0xF9400061),  # ldr x1, [x3]
        _ADD: struct.pack("<I", 0x91000400),  # add x0, x0, #1
        _STORE: struct.pack("<I", 0xF9000061),  # str x1, [x3]
        "loop": lambda size: struct.pack("<I", 0x14000000 | (-size // 4) & 0x3FFFFFF),
    },
    "x86_64": {
        _LOAD: bytes.fromhex("488b0b"),  # mov rcx, [rbx]
        _ADD: bytes.fromhex("48ffc0"),  # inc rax
        _STORE: bytes.fromhex("48890b"),  # mov [rbx], rcx
        "loop": lambda size: b"\xeb" + struct.pack("<b", -size - 2),
    },
}


class Guest:
    """An engine with a loop of the given instructions at START, and a device at DEVICE."""

    def __init__(self, arch: str, *instructions: str, quick: bool = True) -> None:
        self.engine, self.ram = Engine(arch), mmap.mmap(-1, 1 << 16)
        if quick:
            self.engine.stop_between_blocks()
        self.engine.count_blocks()
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        self.engine.map_ram(0, len(self.ram), address)
        self.engine.hooks.map_device(DEVICE, 0x1000, self._read, lambda *_: None)
        parts = [CODE[arch][name] for name in instructions]
        body = b"".join(parts)
        code = body + CODE[arch]["loop"](len(body))
        self.ram[START : START + len(code)] = code
        self.at = [START + len(b"".join(parts[:n])) for n in range(len(parts) + 1)]
        self.on_read: Callable[[], None] = lambda: None
        self.reads = 0

    def _read(self, *_: object) -> int:
        self.reads += 1
        self.on_read()
        return 0

    def hook(self, address: int, callback: Callable[[], None]) -> None:
        self.engine.on_code(address, lambda *_: callback())


def test_the_switch_is_found() -> None:
    assert find_switch() > 0


def test_a_stop_in_a_devices_callback_waits_for_the_end_of_the_block(arch: str) -> None:
    for quick, adds in ((True, 1), (False, 0)):
        guest = Guest(arch, _LOAD, _ADD, quick=quick)
        guest.engine.words[3] = DEVICE
        guest.on_read = guest.engine.stop
        for turn in (1, 2):
            guest.engine.run(START)
            assert guest.engine.words[guest.engine.layout.pc] == START
            assert guest.engine.words[0] == turn * adds
            assert guest.reads == 2 * turn  # it is read in two halves


def test_a_stop_in_a_hook_stands_at_the_hook(arch: str) -> None:
    """Also for a handler that has changed the pc word and then failed."""
    for instruction in (0, 2):
        guest = Guest(arch, _ADD, _ADD, _ADD)
        engine, place = guest.engine, guest.at[instruction]

        def stop(guest: Guest = guest) -> None:
            guest.engine.words[guest.engine.layout.pc] += 1
            guest.engine.stop()

        guest.hook(place, stop)
        for turn in range(3):
            engine.words[0] = 0
            assert engine.run(START) == 0
            assert (engine.words[engine.layout.pc], engine.words[0]) == (place, instruction), turn


@pytest.mark.parametrize("early", [True, False])
def test_a_hook_leaves_its_block_at_once(arch: str, early: bool) -> None:
    """Whether it was there before the block was translated, or came later."""
    guest = Guest(arch, _ADD, _STORE, _ADD, _LOAD)
    engine, (_, store, second_add, _, end) = guest.engine, guest.at
    engine.words[3] = 0x3000
    if not early:
        engine.run(START, 7)
        assert engine.words[0] == 14
    engine.words[0] = 0
    hits: list[int] = []

    def leave() -> None:
        hits.append(engine.words[0])
        if len(hits) < 4:
            engine.write_pc(end)
        else:
            engine.stop()

    guest.hook(second_add, leave)
    passed: list[int] = []
    guest.hook(store, lambda: passed.append(engine.words[0]))
    engine.forget_code(START, end)
    engine.run(START)
    assert hits == passed == [1, 2, 3, 4]
    assert engine.words[engine.layout.pc] == second_add
    engine.dispatch.disarm(second_add)
    engine.forget_code(START, end)
    engine.words[0] = 0
    engine.run(START, 5)
    assert engine.words[0] == 10 and len(hits) == 4


def test_hooks_beside_each_other_and_far_away(arch: str) -> None:
    """Every hook can leave its block."""
    guest = Guest(arch, *[_ADD] * 12)
    engine, end = guest.engine, guest.at[-1]
    left: list[int] = []

    def leaver(address: int) -> Callable[[], None]:
        def leave() -> None:
            left.append(address)
            engine.write_pc(end)

        return leave

    others = [0x9000, 0xF000, 0x5000, 0x3000, 0x2000, 0x9800]
    for address in others:
        guest.hook(address, leaver(address))
    for n in (7, 3, 11, 0):
        guest.hook(guest.at[n], leaver(guest.at[n]))
        engine.forget_code(START, end)
        engine.words[0] = 0
        engine.run(START, 4)
        assert engine.words[0] == 2 * n
        assert left[-2:] == [guest.at[n]] * 2
        engine.dispatch.disarm(guest.at[n])


def test_a_hooked_block_that_overwrites_itself(arch: str) -> None:
    """It goes on, and the one block that was thrown away in the midst of it is all one sees."""
    turns = []
    for quick in (True, False):
        guest = Guest(arch, _STORE, _ADD, quick=quick)
        engine = guest.engine
        hits: list[int] = []
        guest.hook(START, lambda hits=hits: hits.append(1))
        engine.words[3] = START  # the same bytes, but Unicorn has to translate them again
        engine.words[1] = int.from_bytes(guest.ram[START : START + 8], "little")
        engine.run(START, 60)
        turns.append(engine.words[0])
        assert len(hits) >= turns[-1]
    assert turns[1] - 1 <= turns[0] <= turns[1]
    assert turns[1] >= 15
