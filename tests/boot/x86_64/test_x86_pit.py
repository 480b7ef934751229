"""The 8254: counts, edges and latches at given times."""

from __future__ import annotations

import itertools

import pytest

from kprobesim.boot.x86_64.pit import HZ, Pit

_SECOND = 1_000_000_000


class _Time:
    now = 0


@pytest.fixture
def time() -> _Time:
    return _Time()


@pytest.fixture
def pit(time: _Time) -> Pit:
    return Pit(lambda: time.now)


def _program(pit: Pit, command: int, count: int) -> None:
    pit.write(0x43, 1, command)
    port = 0x40 + (command >> 6)
    pit.write(port, 1, count & 0xFF)
    pit.write(port, 1, count >> 8)


def _count(pit: Pit, channel: int = 0) -> int:
    pit.write(0x43, 1, channel << 6)
    low = pit.read(0x40 + channel, 1)
    return low | pit.read(0x40 + channel, 1) << 8


def test_rate_generator_ticks_for_ever(pit: Pit, time: _Time) -> None:
    divisor = HZ // 250
    _program(pit, 0x34, divisor)
    edges: list[int] = []
    while len(edges) < 250:
        assert pit.next_edge is not None
        assert not pit.advance(pit.next_edge - 1)
        time.now = pit.next_edge
        edges.append(time.now)
        assert pit.advance(time.now)
    assert edges[-1] == pytest.approx(_SECOND * 250 * divisor / HZ, abs=1)
    gaps = {b - a for a, b in itertools.pairwise(edges)}
    assert max(gaps) - min(gaps) <= 1, "no drift"


@pytest.mark.parametrize("command", [0x30, 0x38], ids=["mode 0", "mode 4"])
def test_one_shot_interrupts_once(pit: Pit, time: _Time, command: int) -> None:
    _program(pit, command, 1193)
    assert pit.next_edge == pytest.approx(1_000_000, rel=2e-3)
    time.now = pit.next_edge or 0
    assert pit.advance(time.now)
    assert pit.next_edge is None
    assert not pit.advance(time.now + _SECOND)


def test_counts_down_and_latches(pit: Pit, time: _Time) -> None:
    _program(pit, 0x34, 10_000)
    time.now = _SECOND * 1000 // HZ + 1
    assert _count(pit) == 9_000
    pit.write(0x43, 1, 0)
    time.now += _SECOND * 500 // HZ
    low = pit.read(0x40, 1)
    assert low | pit.read(0x40, 1) << 8 == 9_000, "as it was when latched"
    assert _count(pit) == 8_500


def test_a_new_command_stops_the_channel(pit: Pit) -> None:
    _program(pit, 0x34, 1000)
    pit.write(0x43, 1, 0x30)
    assert pit.next_edge is None


def test_count_of_zero_is_65536(pit: Pit) -> None:
    _program(pit, 0x34, 0)
    assert pit.next_edge == pytest.approx(_SECOND * 65536 / HZ, abs=1)


def test_read_back_gives_status_then_count(pit: Pit, time: _Time) -> None:
    _program(pit, 0x34, 5000)
    pit.write(0x43, 1, 0xC2)
    assert pit.read(0x40, 1) == 0x80 | 0x30 | 2 << 1
    assert pit.read(0x40, 1) | pit.read(0x40, 1) << 8 == 5000


def test_speaker_channel_counts_while_its_gate_is_open(pit: Pit, time: _Time) -> None:
    """The way Linux measures the TSC: gate up, mode 0, until the output rises."""
    pit.write(0x61, 1, 1)
    _program(pit, 0xB0, 0xFFFF)
    assert not pit.read(0x61, 1) & 0x20
    time.now = _SECOND * 0x8000 // HZ + 1
    assert _count(pit, 2) == 0x7FFF
    time.now = _SECOND * 0xFFFF // HZ + 1
    assert pit.read(0x61, 1) & 0x20
    assert pit.next_edge is None, "only channel 0 interrupts"
