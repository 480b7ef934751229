"""A real ARM64 kernel boots to user space on the board."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.arm64_code import BRK, hello_init, initrd

from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.faults import GuestPanic
from kprobesim.boot.stop import Stop
from kprobesim.image import KernelImage, load_image

APPEND = "console=ttyAMA0 rdinit=/init"
WALL = 120.0


@pytest.fixture(scope="module")
def image(real_arm64_image: Path) -> KernelImage:
    return load_image(real_arm64_image)


@pytest.fixture(scope="module")
def booted(image: KernelImage) -> Arm64Board:
    """Ran until it had switched itself off."""
    board = make_board(image)
    assert board.run("Run /init", timeout=WALL).kind is Stop.TEXT
    assert "HELLO" not in board.console.text
    assert board.run(timeout=WALL).kind is Stop.POWER_OFF
    return board


def make_board(image: KernelImage, append: str = APPEND) -> Arm64Board:
    return Arm64Board(image, initrd=initrd(hello_init()), append=append, memory=128 << 20)


def test_reaches_user_space_and_switches_itself_off(booted: Arm64Board) -> None:
    text = booted.console.text
    assert "Booting Linux on physical CPU" in text
    assert "HELLO FROM USER SPACE\n" in text
    assert text.index("HELLO FROM USER SPACE") < text.index("slept")
    assert "Power down" in text
    for trouble in ("WARNING", "BUG", "Oops", "Call trace", "rcu_sched self-detected"):
        assert trouble not in text


def test_a_child_that_never_ends_is_preempted(booted: Arm64Board) -> None:
    """Its parent sleeps for 0.3 s and then ends everything: that took that time."""
    assert "slept\n" in booted.console.text
    assert booted.time > 0.3


def test_two_boots_print_the_same(image: KernelImage, booted: Arm64Board) -> None:
    again = make_board(image)
    assert again.run(timeout=WALL).kind is Stop.POWER_OFF
    assert bytes(again.console.output) == bytes(booted.console.output)
    assert again.time == booted.time


def test_stops_of_the_host_are_not_seen_by_the_guest(
    image: KernelImage, booted: Arm64Board
) -> None:
    """In steps of odd lengths, with stops at texts and conditions between."""
    board = make_board(image)
    board.run("Linux version", timeout=WALL)
    board.run(lambda at: at.time > 0.1, timeout=WALL)
    step = 0
    while (stop := board.run(seconds=0.0100003, timeout=WALL)).kind is Stop.SECONDS:
        step += 1
    assert stop.kind is Stop.POWER_OFF and step > 20
    assert bytes(board.console.output) == bytes(booted.console.output)
    assert board.time == booted.time


def test_a_claimed_breakpoint_is_seen_by_nobody_else(
    image: KernelImage, booted: Arm64Board
) -> None:
    board = make_board(image)
    board.run("Run /init", timeout=WALL)
    machine, words, pc = board.machine, board.machine.words, board.machine.engine.layout.pc
    place = image.symbols["kernel_clone"].address
    while machine.memory.read_u32(place) != 0xD503233F:  # paciasp: a hint, which can be left out
        place += 4
    hits = []

    def skip() -> bool:
        if words[pc] != place:
            return False
        hits.append(board.time)
        words[pc] += 4
        return True

    machine.vcpu.traps.breakpoint.append(skip)
    machine.write(place, (BRK | 4 << 5).to_bytes(4, "little"))
    assert machine.memory.read_u32(place) == BRK | 4 << 5
    assert board.run(timeout=WALL).kind is Stop.POWER_OFF
    assert hits
    after = board.console.text.partition("Run /init")[2]
    assert "HELLO FROM USER SPACE" in after and "Oops" not in after


def test_without_an_init_the_panic_is_told(image: KernelImage) -> None:
    board = Arm64Board(image, initrd=None, append=APPEND, memory=128 << 20)
    with pytest.raises(GuestPanic, match="VFS: Unable to mount root fs") as caught:
        board.run(timeout=WALL)
    assert "end Kernel panic" in caught.value.console
