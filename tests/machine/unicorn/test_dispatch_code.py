"""The host's machine code that hooks, calls and notes, in emulated CPUs of every kind."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable

import pytest

from kprobesim.machine.unicorn import coverage_code
from kprobesim.machine.unicorn.armed_table import ArmedTable
from kprobesim.machine.unicorn.dispatch_code import BOARD, BOARD_BYTES, CODE, MAY_LEAVE, WORDS
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import assemble

CODE_AT, BOARDS, TABLE, TB, DATA, PLACES = 0x2000, 0x4000, 0x5000, 0x9000, 0x9100, 0xA000
HALT, HOOK, SWITCH, STACK, SIZE = 0xB000, DATA + 0x40, DATA + 0x60, 0xF000, 0x3_0000
CPU, OTHER_CPU, UC, CONTEXT, NOWHERE = 0x1111, 0x2222, 0x3333, 0x4444, 1 << 63 | 1
KINDS = {  # the CPU, a return, a halt, the words of arguments, the stack pointer's
    "x86_64": ("x86_64", b"\xc3", b"\xf4", (7, 6, 2, 1), 4),
    "aarch64": (
        "arm64",
        struct.pack("<I", 0xD65F03C0),
        struct.pack("<I", 0xD503207F),
        range(4),
        31,
    ),
}
SAVED = {"x86_64": (3, 5, 12, 13, 14, 15), "aarch64": range(19, 30)}  # by the callee


class Host:
    """A CPU with the code in its memory, one board among two, and returns in Unicorn's place."""

    def __init__(self, host: str, listing: str = "") -> None:
        self.arch, back, halt, self.arguments, self.sp = KINDS[host]
        self.saved = SAVED[host]
        self.engine, self.ram = Engine(self.arch), mmap.mmap(-1, SIZE)
        self.engine.map_ram(0, SIZE, ctypes.addressof(ctypes.c_char.from_buffer(self.ram)))
        code, self.labels = assemble(listing or CODE[host])
        self.ram[CODE_AT : CODE_AT + len(code)] = code
        self.ram[HALT : HALT + len(halt)] = halt
        self.places = {
            name: PLACES + 16 * n for n, name in enumerate(("stop", *WORDS[4:], "a", "b"))
        }
        for name, at in self.places.items():
            self.ram[at : at + len(back)] = back
            self.engine.on_code(at, lambda *_, name=name: self._called(name))
        values = {"table": BOARDS, "count": 2, "nowhere": NOWHERE, **self.places}
        for number, name in enumerate(WORDS):
            self.write(CODE_AT - 0x1000 + 8 * number, values[name])
        self.write(BOARDS + 8 * BOARD.index("cpu"), OTHER_CPU)
        self.table = ArmedTable(lambda _address, _mask: None, host)
        self.board(
            cpu=CPU, context=CONTEXT, hook=HOOK, switch=SWITCH, quick=1, step=1, counter=DATA
        )
        self._put_table()
        self.calls: list[tuple[str, list[int]]] = []
        self.act: Callable[[str], None] = lambda name: None

    def write(self, at: int, value: int) -> None:
        self.ram[at : at + 8] = struct.pack("<Q", value)

    def read(self, at: int) -> int:
        return int.from_bytes(self.ram[at : at + 8], "little")

    def board(self, **values: int) -> None:
        for name, value in values.items():
            self.write(BOARDS + BOARD_BYTES + 8 * BOARD.index(name), value)

    def arm(self, address: int, flags: int = 0, place: str = "a") -> None:
        """Put it into the table, and that into the guest's memory."""
        self.table.put(address, self.places[place], DATA, flags)
        self._put_table()

    def _put_table(self) -> None:
        whole = bytes(self.table._words)
        self.ram[TABLE : TABLE + len(whole)] = whole
        self.board(armed=TABLE, mask=len(whole) // 32 - 1)

    def _called(self, name: str) -> None:
        self.calls.append((name, [self.engine.words[n] for n in self.arguments]))
        self.act(name)

    def call(self, label: str, *arguments: int) -> list[tuple[str, list[int]]]:
        """Whom it called, with what; it must come back as the calling convention wants."""
        words, before = self.engine.words, {}
        for number, value in zip(self.arguments, arguments, strict=False):
            words[number] = value
        for number in self.saved:
            words[number] = before[number] = 0x5A00 + number
        stack = STACK
        if self.arch == "x86_64":
            stack -= 8
            self.write(stack, HALT)
        else:
            words[30] = before[30] = HALT
        words[self.sp] = stack
        self.calls = []
        assert self.engine.run(CODE_AT + self.labels[label]) == 0
        assert words[self.engine.layout.pc] in (HALT + 1, HALT + 4)
        assert {number: words[number] for number in before} == before
        assert words[self.sp] == STACK
        return self.calls


@pytest.fixture(params=sorted(CODE))
def host(request: pytest.FixtureRequest) -> Host:
    return Host(str(request.param))


BLOCK, MOST = 0xFFFF_FFFF_8100_0040, 128  # instructions in a block


def test_who_is_armed_is_called_with_his_data(host: Host) -> None:
    board = BOARDS + BOARD_BYTES
    host.arm(BLOCK)
    host.arm(BLOCK + 64 * 16, place="b")  # collides
    assert host.call("arrival", UC, BLOCK, 5, board) == [("a", [UC, BLOCK, 5, DATA])]
    assert host.call("arrival", UC, BLOCK + 64 * 16, 5, board)[0][0] == "b"
    for address in (BLOCK + 1, BLOCK - 64 * 16, 0):
        assert host.call("arrival", UC, address, 5, board) == []


def test_a_chain(host: Host) -> None:
    pairs = (host.places["a"], 11, host.places["b"], 22, host.places["a"], 33, 0, 0)
    for number, word in enumerate(pairs):
        host.write(DATA + 8 * number, word)
    called = host.call("chain", UC, BLOCK, 5, DATA)
    assert called == [(name, [UC, BLOCK, 5, n]) for name, n in (("a", 11), ("b", 22), ("a", 33))]


def translate(host: Host, size: int, most: int = 512) -> list[tuple[int, int, int]]:
    """The hook's range and the switch each time that the block of ``size`` bytes is translated.

    Unicorn wants it to have at most so many instructions.
    """
    seen: list[tuple[int, int, int]] = []

    def act(name: str) -> None:
        if name == "real":
            seen.append((host.read(HOOK), host.read(HOOK + 8), host.ram[SWITCH]))
            host.ram[TB + 20 : TB + 22] = struct.pack("<H", size)

    host.act = act
    host.write(TB, BLOCK)
    calls = host.call("translate", CPU, TB, most)
    assert all(call[1][:3] == [CPU, TB, min(most, MOST)] for call in calls if call[0] == "real")
    assert all(call[1][0] == CONTEXT for call in calls if call[0] == "func_start")
    assert host.read(HOOK) == 0 and host.read(HOOK + 8) == (1 << 64) - 1
    names = [name for name, _ in calls]
    assert names == ["real", "func_start", "real"][: 2 * len(seen) - 1]
    assert host.read(BOARDS + BOARD_BYTES + 8 * BOARD.index("last_block")) == TB
    return seen


def test_nothing_is_hooked_where_nobody_is_armed(host: Host) -> None:
    for address in (BLOCK - 1, BLOCK + 20, BLOCK + 4096):
        host.arm(address, MAY_LEAVE)
    assert translate(host, 20) == translate(host, 20, most=1) == [(NOWHERE, NOWHERE, 1)]


@pytest.mark.parametrize("flags", [0, MAY_LEAVE])
def test_a_blocks_first_instruction_is_hooked_at_once(host: Host, flags: int) -> None:
    host.arm(BLOCK, flags)
    assert translate(host, 20) == [(BLOCK, BLOCK, not flags)]


@pytest.mark.parametrize("flags", [0, MAY_LEAVE])
def test_a_block_is_translated_again_for_what_is_within(host: Host, flags: int) -> None:
    host.arm(BLOCK + 19, flags)
    last = BLOCK + 19
    assert translate(host, 20) == [(NOWHERE, NOWHERE, 1), (last, last, not flags)]
    host.arm(BLOCK + 7)
    assert translate(host, 20)[1] == (BLOCK + 7, last, not flags)
    host.arm(BLOCK)
    assert translate(host, 20) == [(BLOCK, BLOCK, 1), (BLOCK, last, not flags)]
    assert translate(host, 8)[1] == (BLOCK, BLOCK + 7, 1)


def test_instructions_are_as_far_apart_as_they_can_be(host: Host) -> None:
    host.board(step=4)
    host.arm(BLOCK + 6)
    assert len(translate(host, 20)) == 1
    host.arm(BLOCK + 8)
    assert translate(host, 20)[1][:2] == (BLOCK + 8, BLOCK + 8)


def test_the_switch(host: Host) -> None:
    host.board(look_in_next=1)
    assert [seen[2] for seen in (*translate(host, 4), *translate(host, 4))] == [0, 1]
    host.board(quick=0)
    host.arm(BLOCK)
    assert translate(host, 4)[0][2] == 0


def test_where_instructions_are_counted_all_is_hooked(host: Host) -> None:
    host.board(wide=1)
    host.arm(BLOCK + 4)
    assert translate(host, 20) == [(0, (1 << 64) - 1, 1)]


def test_other_engines_are_left_alone(host: Host) -> None:
    host.arm(BLOCK)
    ((name, arguments),) = host.call("translate", 0x7777, TB, 512)
    assert (name, arguments[:3]) == ("real", [0x7777, TB, 512])


MAP, NOTES = 0x1_0000, 0x2_0000


@pytest.fixture(params=sorted(CODE))
def notes(request: pytest.FixtureRequest) -> Host:
    """A host that notes the upper half's blocks in a table of eight, four of which may be used."""
    host = Host(str(request.param), coverage_code.CODE[str(request.param)])
    area = {"low": 1 << 63, "span": (1 << 63) - 1, "map": MAP, "table": NOTES, "mask": 7, "most": 4}
    area["full"] = host.places["a"]
    for number, name in enumerate(coverage_code.AREA):
        host.write(DATA + 8 * number, area.get(name, 0))
    host.ram[NOTES : NOTES + 128] = b"\xff" * 128
    return host


def noted(host: Host) -> dict[int, tuple[int, int]]:
    rows = struct.iter_unpack("<2Q", host.ram[NOTES : NOTES + 128])
    return {at: (word >> 48, word & (1 << 48) - 1) for at, word in rows if at != (1 << 64) - 1}


def test_blocks_are_noted_until_the_table_is_full(notes: Host) -> None:
    truth: dict[int, tuple[int, int]] = {}
    for number, size in ((0, 5), (1, 7), (8, 3), (0, 9), (0, 4), (24, 1), (8, 3)):
        address = BLOCK + number
        assert notes.call("covered", UC, address, size, DATA) == []
        before = truth.get(address, (0, 0))
        truth[address] = max(before[0], size), before[1] + 1
        assert noted(notes) == truth
    fifth = BLOCK + 2
    assert notes.call("covered", UC, fifth, 6, DATA) == [("a", [UC, fifth, 6, DATA])]
    assert noted(notes) == truth
    for outside in ((1 << 63) - 1, (1 << 64) - 1):
        assert notes.call("covered", UC, outside, 6, DATA) == []
    assert noted(notes) == truth


def test_edges_are_noted_as_afl_does(notes: Host) -> None:
    notes.write(DATA + 8 * coverage_code.AREA.index("table"), 0)
    truth, before = bytearray(1 << 16), 0
    for number in (*range(0, 4000, 37), *[0] * 300):
        address = BLOCK + number
        notes.call("covered", UC, address, 4, DATA)
        block = (address >> 4 ^ address << 8) & 0xFFFF
        edge = block ^ before
        truth[edge] = truth[edge] + 1 if truth[edge] < 255 else 1
        before = block >> 1
    assert bytes(notes.ram[MAP : MAP + (1 << 16)]) == bytes(truth)
    assert truth[edge] == 299 - 255 and noted(notes) == {}
