"""What a console tells of its lines: their times, by the guest's own clock."""

from __future__ import annotations

import pytest
from makers.arm64_code import LOOP, POWER_OFF, bare_guest, say

from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.console import Console, ConsoleLine
from kprobesim.errors import UsageError


def test_a_line_has_the_time_of_its_first_byte() -> None:
    console, now = Console(), [1_000_000_000]
    console.now = lambda: now[0]
    for piece in (b"on", b"e\r\ntwo", b"\n", b"\nthree\nfo", b"ur"):
        console.put(piece)
        now[0] += 1_000_000_000
    assert console.lines == [
        ConsoleLine(1.0, "one"),
        ConsoleLine(2.0, "two"),
        ConsoleLine(4.0, ""),
        ConsoleLine(4.0, "three"),
        ConsoleLine(4.0, "four"),
    ]


def test_times_are_part_of_the_state_and_may_be_unknown() -> None:
    console = Console()
    console.now = lambda: 5_000_000_000
    console.put(b"old\n")
    state = console.save()
    console.put(b"other\n")
    console.load(state)
    console.put(b"new\n")
    assert console.lines == [ConsoleLine(5.0, "old"), ConsoleLine(5.0, "new")]
    del state["stamps"]  # of a snapshot from before there were times
    console.load(state)
    assert console.lines == [ConsoleLine(None, "old")]
    for damaged in (b"odd", 7, None):
        with pytest.raises(UsageError, match="stamps"):
            console.load({**state, "stamps": damaged})
    assert console.lines == [ConsoleLine(None, "old")]


def test_a_board_stamps_with_its_own_clock() -> None:
    board = Arm64Board(
        bare_guest([*say("a\n"), *say("b\n"), *POWER_OFF, LOOP]),
        initrd=None,
        append="",
        memory=16 << 20,
    )
    assert board.machine.clock is board.clock
    board.run(timeout=5)
    first, second = board.console.lines
    assert (first.text, second.text) == ("a", "b")
    assert first.time is not None and second.time is not None
    assert 0 <= first.time <= second.time <= board.time
