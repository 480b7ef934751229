"""Who is called before an instruction, and at each block: exactly those, however many are armed."""

from __future__ import annotations

import ctypes
import gc
import mmap
import struct
from typing import Any

import pytest
import unicorn

from kprobesim.machine.unicorn import dispatch
from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.engine_entries import EngineEntries
from kprobesim.machine.unicorn.native import Native

START, FAR = 0x1000, 0x4000
_ADD = {"x86_64": bytes.fromhex("48ffc0"), "arm64": struct.pack("<I", 0x91000400)}
_BACK = {  # to the start, over so many bytes
    "x86_64": lambda size: b"\xe9" + struct.pack("<i", -size - 5),
    "arm64": lambda size: struct.pack("<I", 0x14000000 | (-size // 4) & 0x3FFFFFF),
}
_TO_NEXT = {"x86_64": b"\xeb\x00", "arm64": struct.pack("<I", 0x14000001)}
_Signature = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
)


class Seen:
    """A client that is machine code for Unicorn, and a list for us."""

    def __init__(self, name: str = "", into: list[Any] | None = None) -> None:
        self.addresses: list[int] = []

        def call(_uc: int, address: int, _size: int, _data: int) -> None:
            self.addresses.append(address)
            if into is not None:
                into.append(name)

        thunk = _Signature(call)
        self.native = Native(ctypes.cast(thunk, ctypes.c_void_p).value or 0, 0, thunk)


class Guest:
    """An engine with a loop at START: two increments, a jump to the next, two more, and back."""

    def __init__(self, arch: str) -> None:
        self.engine, self.ram = Engine(arch), mmap.mmap(-1, 1 << 16)
        self.engine.stop_between_blocks()
        self.engine.count_blocks()
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        self.engine.map_ram(0, len(self.ram), address)
        parts = [_ADD[arch], _ADD[arch], _TO_NEXT[arch], _ADD[arch], _ADD[arch]]
        self.at = [START + len(b"".join(parts[:n])) for n in range(len(parts) + 1)]
        parts.append(_BACK[arch](len(b"".join(parts))))
        code = b"".join(parts)
        self.ram[START : START + len(code)] = code

    def arm(self, address: int, native: Native) -> None:
        self.engine.dispatch.arm(address, native, leaves=False)
        self.engine.forget_code(address, address + 1)

    def run(self, blocks: int, start: int = START) -> int:
        """Returns how often the register was incremented."""
        self.engine.words[0] = 0
        assert self.engine.run(start, blocks) == 0
        return self.engine.words[0]


@pytest.fixture(params=["dispatcher", "single hooks"])
def guest(arch: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Guest:
    """A guest; also where no function of Unicorn's can be replaced."""
    if request.param == "single hooks":
        monkeypatch.setattr(dispatch, "_placed", lambda suffix: None)
    guest = Guest(arch)
    assert guest.engine.dispatch.live == (request.param == "dispatcher")
    return guest


def test_each_instruction_is_seen_exactly(guest: Guest) -> None:
    for place in (*guest.at, START):
        seen = Seen()
        guest.arm(place, seen.native)
        assert guest.run(10) == 20
        assert seen.addresses == [place] * 5
        guest.engine.dispatch.disarm(place)
        guest.engine.forget_code(place, place + 1)
        assert guest.run(10) == 20 and len(seen.addresses) == 5


def test_all_at_once_and_thousands_elsewhere(guest: Guest) -> None:
    seen, far = [Seen() for _ in guest.at], Seen()
    many = 40 if not guest.engine.dispatch.live else 4000
    for number in range(many):
        guest.engine.dispatch.arm(FAR + 4 * number, far.native, leaves=False)
    for place, each in zip(guest.at, seen, strict=True):
        guest.arm(place, each.native)
    assert guest.run(8) == 16
    assert [each.addresses for each in seen] == [[place] * 4 for place in guest.at]
    for number in range(many):
        guest.engine.dispatch.disarm(FAR + 4 * number)
    assert guest.run(8) == 16
    assert [len(each.addresses) for each in seen] == [8] * len(seen)
    assert not far.addresses


def test_a_block_that_falls_into_another_ones_start(guest: Guest) -> None:
    """The second increment is a block's start for who jumps there, and within one for others."""
    seen, second = Seen(), guest.at[1]
    guest.arm(second, seen.native)
    for count, start in ((1, second), (2, START), (3, second), (4, START)):
        assert guest.run(1, start) == (2 if start == START else 1)
        assert len(seen.addresses) == count


def test_what_is_over_the_limit_is_seen_when_it_runs(guest: Guest) -> None:
    seen = Seen()
    guest.arm(START, seen.native)
    for turn in range(1, 6):
        assert guest.run(1, START if turn % 2 else guest.at[3]) == 2
        assert len(seen.addresses) == (turn + 1) // 2


def test_instructions_may_be_counted(guest: Guest) -> None:
    seen = Seen()
    for place in (START, guest.at[4]):
        guest.arm(place, seen.native)
    for turn in (1, 2):
        guest.engine.count_instructions()
        guest.run(12)
        assert len(seen.addresses) == 8 * turn - 4
        guest.engine.count_blocks()
        guest.run(4)
        assert len(seen.addresses) == 8 * turn


def test_somebody_else_may_hook_code_directly(guest: Guest) -> None:
    seen, foreign = Seen(), Seen()
    function, hooks = foreign.native.function, guest.engine.hooks
    handle = hooks.add(unicorn.UC_HOOK_CODE, function, (guest.at[1], guest.at[4]))
    for place in (START, guest.at[4]):
        guest.arm(place, seen.native)
    for turn in (1, 2, 3):
        guest.run(4)
        assert seen.addresses[-4:] == [START, guest.at[4]] * 2
        assert len(seen.addresses) == 4 * turn
    assert foreign.addresses[:4] == guest.at[1:5]
    hooks.unhook(handle)
    guest.run(4)
    assert len(seen.addresses) == 16


def test_every_block(guest: Guest) -> None:
    names: list[str] = []
    first, second, probe = Seen("first", names), Seen("second", names), Seen("probe", names)
    guest.run(4)
    guest.arm(START, probe.native)
    for each in (first, second):
        guest.engine.dispatch.every_block(each.native)
    guest.engine.forget_all_code()
    guest.run(4)
    assert first.addresses[:4] == [START, guest.at[3]] * 2
    assert names[:3] == ["first", "second", "probe"] and names[3:5] == ["first", "second"]
    if guest.engine.dispatch.live:
        assert len(first.addresses) == 4  # not for the one that is over the limit
    guest.engine.dispatch.no_longer(first.native)
    guest.engine.forget_all_code()
    names.clear()
    guest.run(2)
    assert names[:3] == ["second", "probe", "second"]
    guest.engine.count_instructions()
    names.clear()
    guest.run(12)
    assert names[:6] == ["second", "probe", "second"] * 2
    guest.engine.count_blocks()
    guest.engine.dispatch.no_longer(second.native)
    guest.engine.forget_all_code()
    names.clear()
    guest.run(2)
    assert names == ["probe"]


def test_a_chain_calls_in_order(arch: str) -> None:
    guest, names = Guest(arch), list[str]()
    clients = [Seen(name, names) for name in "abc"]
    guest.arm(START, guest.engine.dispatch.chain([each.native for each in clients]))
    guest.run(3)
    assert names == ["a", "b", "c"] * 2


def test_engines_do_not_hear_of_each_other(arch: str) -> None:
    other = "arm64" if arch == "x86_64" else "x86_64"
    guests = [Guest(arch), Guest(other), Guest(arch)]
    seen = [Seen() for _ in guests]
    for guest, each in zip(guests, seen, strict=True):
        guest.arm(guest.at[1], each.native)
    for runs, guest in enumerate(guests, 1):
        guest.run(2 * runs)
    assert [len(each.addresses) for each in seen] == [1, 2, 3]


def test_more_engines_than_there_are_boards(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineEntries, "take", lambda self: None)
    guest, seen = Guest(arch), Seen()
    assert not guest.engine.dispatch.live
    guest.arm(guest.at[1], seen.native)
    guest.run(2)
    assert seen.addresses == [guest.at[1]]


def test_boards_are_used_again(arch: str) -> None:
    placed = dispatch._placed(SUFFIXES[arch])
    assert placed is not None
    made = [placed.boards._made]
    for _ in range(8):
        Guest(arch)
        gc.collect()
        made.append(placed.boards._made)
    assert made[-1] <= made[0] + 1
