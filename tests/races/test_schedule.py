"""A schedule's text: short, versioned, and refused when it is not whole."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kprobesim import ScheduleError
from kprobesim.boot.boot_schedule import BootSchedule
from kprobesim.races.schedule import MOST_TEXT, Schedule, Slice
from kprobesim.schedule_text import pack, text_of

SLICE = st.builds(
    Slice,
    st.integers(0, 3),
    st.integers(0, 1 << 40),
    st.none() | st.integers(0, 0xFFFF),
)


@given(st.integers(0, 0xFFFF_FFFF), st.lists(SLICE, max_size=40))
def test_a_schedule_is_its_text(what: int, slices: list[Slice]) -> None:
    schedule = Schedule(what, 4, tuple(slices))
    text = str(schedule)
    assert Schedule.parse(text) == schedule
    assert len(text) < MOST_TEXT


def test_many_slices_keep_some_of_their_checks() -> None:
    slices = [Slice(number % 2, 3 + 7 * number % 50, 257 * number) for number in range(250)]
    text = str(Schedule(5, 2, tuple(slices)))
    again = Schedule.parse(text).slices
    assert len(text) <= MOST_TEXT
    assert [(piece.cpu, piece.steps) for piece in again] == [(p.cpu, p.steps) for p in slices]
    checks = [piece.check for piece in again]
    assert 0 < len([check for check in checks if check is not None]) < len(slices)


@pytest.mark.parametrize("count", [2000, 20_000])
def test_too_many_slices_have_no_text_but_are_a_schedule(count: int) -> None:
    slices = [Slice(n % 2, 1 + n * n * 7919 % 10007, n % 65521) for n in range(count)]
    schedule = Schedule(5, 2, tuple(slices))
    with pytest.raises(ScheduleError, match="the schedule itself"):
        str(schedule)
    told = text_of(schedule)
    assert told.startswith("none: ") and len(told) < MOST_TEXT
    assert Schedule.parse(pickle.loads(pickle.dumps(schedule))) == schedule
    assert len(schedule.describe()) < MOST_TEXT


@given(st.binary(max_size=200))
def test_whatever_is_packed_is_a_schedule_or_refused(data: bytes) -> None:
    for prefix, kind in (("kps1:", Schedule), ("kpb1:", BootSchedule)):
        try:
            schedule = kind.parse(pack(prefix, data))
        except ScheduleError as error:
            assert len(str(error)) < MOST_TEXT
        else:
            assert kind.parse(str(schedule)) == schedule


def test_it_tells_how_often_it_preempts() -> None:
    schedule = Schedule(1, 2, (Slice(0, 12), Slice(1), Slice(0, 3)))
    assert schedule.preemptions == 2
    assert schedule.describe() == "0:12 1: 0:3"


TEXT = str(Schedule(1, 2, (Slice(0, 12, 7), Slice(1, 900, 8))))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no schedule"),
        ("hello", "is no schedule"),
        ("kps2:" + TEXT[5:], "version 2"),
        (TEXT[:-3], "cut or edited"),
        (TEXT[:9] + "A" + TEXT[10:], "cut or edited"),
        ("kps1:", "cut or edited"),
        ("kps1:\N{SNOWMAN}", "cut or edited"),
        ("kps1:" + "A" * MOST_TEXT, "more than"),
    ],
)
def test_what_is_no_whole_schedule_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ScheduleError, match=problem):
        Schedule.parse(text)
