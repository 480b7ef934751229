"""The firmware's calls that concern CPUs, without a board."""

from __future__ import annotations

import pytest

from kprobesim.boot.arm64.psci import Psci, Start
from kprobesim.boot.stop import Stop

OFF, ON, AFFINITY, SUSPEND, FEATURES = (
    0x8400_0002,
    0xC400_0003,
    0xC400_0004,
    0xC400_0001,
    0x8400_000A,
)
NOT_SUPPORTED, INVALID, ALREADY_ON, PENDING = ((1 << 64) - n for n in (1, 2, 4, 5))


class Board:
    """What the firmware asks, and what of it is on."""

    def __init__(self) -> None:
        self.on = [True, False]
        self.asked: list[str] = []

    def end(self, kind: Stop) -> None:
        self.asked.append(kind.name)

    def is_on(self, cpu: int) -> bool:
        return self.on[cpu]

    def switch_off(self) -> None:
        self.asked.append("off")

    def wait(self) -> None:
        self.asked.append("wait")


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def psci(board: Board) -> Psci:
    return Psci(board, 2)


def test_a_cpu_is_switched_on_once(board: Board, psci: Psci) -> None:
    assert psci.call(AFFINITY, 1) == 1
    assert psci.call(ON, 1, 0x4_1234_5678, 42) == 0
    assert psci.call(AFFINITY, 1) == 2
    assert psci.call(ON, 1, 0, 0) == PENDING
    assert psci.take_starting() == [Start(1, 0x4_1234_5678, 42)]
    assert psci.take_starting() == []
    board.on[1] = True
    assert psci.call(AFFINITY, 1) == 0
    assert psci.call(ON, 1, 0, 0) == ALREADY_ON == psci.call(ON, 0, 0, 0)


@pytest.mark.parametrize("target", [2, 0x100, 1 << 32 | 1])
def test_no_cpu_has_another_affinity(psci: Psci, target: int) -> None:
    assert psci.call(ON, target, 0, 0) == psci.call(AFFINITY, target) == INVALID


def test_calls_of_32_bits_look_at_as_many(psci: Psci) -> None:
    assert psci.call(ON & ~(1 << 30), 5 << 32 | 1, 6 << 32 | 7, 8 << 32 | 9) == 0
    assert psci.take_starting() == [Start(1, 7, 9)]


def test_other_calls_reach_the_board(board: Board, psci: Psci) -> None:
    for function in (OFF, SUSPEND, 0x8400_0008, 0x8400_0009):
        assert psci.call(function, 0) == psci.call(FEATURES, function) == 0
    assert board.asked == ["off", "wait", "POWER_OFF", "RESTART"]
    unknown = 0x8400_0123
    assert psci.call(unknown, 0) == psci.call(FEATURES, unknown) == NOT_SUPPORTED
    assert psci.call(0x8400_0000, 0) == 0x1_0000


def test_who_is_to_start_is_part_of_the_state(psci: Psci) -> None:
    psci.call(ON, 1, 0x4000_0000, 42)
    other = Psci(Board(), 2)
    other.load(psci.save())
    assert other.take_starting() == [Start(1, 0x4000_0000, 42)]
