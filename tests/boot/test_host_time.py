"""The clock that follows the host's, and the one that does not."""

from __future__ import annotations

import time

import pytest

from kprobesim import UsageError
from kprobesim.boot.host_time import HostTime, make_clock
from kprobesim.boot.virtual_time import VirtualTime
from kprobesim.machine.unicorn.engine import Engine

SECOND = 1_000_000_000


@pytest.fixture
def engine(arch: str) -> Engine:
    engine = Engine(arch)
    engine.count_blocks()
    return engine


def waiting(engine: Engine) -> HostTime:
    """A clock whose guest has waited once."""
    clock = HostTime(engine)
    clock.jump(0)
    return clock


def test_until_the_guest_waits_its_time_is_what_it_does(engine: Engine) -> None:
    """Its CPU's clock is measured by a timer then, however little the host lets it run."""
    clock, virtual = HostTime(engine), VirtualTime(engine)
    for clock_of in (clock, virtual):
        clock_of.begin()
        for _ in range(3):
            clock_of.read()
            clock_of.spend(5000)
        clock_of.end()
    assert clock.now() == virtual.now() > 15_000
    before, started = clock.now(), time.monotonic_ns()
    clock.jump(before + SECOND // 100)
    clock.begin()
    assert 0 < clock.now() - before <= time.monotonic_ns() - started
    clock.end()


def test_an_idle_guest_really_waits(engine: Engine) -> None:
    clock = waiting(engine)
    clock.begin()
    clock.end()
    before, started = clock.now(), time.monotonic_ns()
    due = before + SECOND // 20
    while clock.now() < due:
        clock.jump(due)
    assert clock.now() - before == pytest.approx(time.monotonic_ns() - started, abs=SECOND // 100)


def test_it_waits_for_keys_and_never_runs_ahead(engine: Engine) -> None:
    clock = waiting(engine)
    waited: list[float] = []
    clock.wait = waited.append  # a key comes at once
    clock.begin()
    clock.end()
    clock.jump(clock.now() + 1000 * SECOND)
    assert clock.now() < SECOND
    assert 0 < waited[0] < 1


def test_time_does_not_pass_while_nobody_runs_the_guest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = [5 * SECOND]
    monkeypatch.setattr(time, "monotonic_ns", lambda: host[0])
    clock = waiting(engine)
    for gap, run in ((0, 3000), (400, 7000), (5 * SECOND, 900)):
        host[0] += gap
        clock.begin()
        host[0] += run
        assert clock.read() == clock.now()
        clock.end()
    assert clock.now() == 3000 + 400 + 7000 + 900


def test_a_busy_guest_is_stopped_in_time(engine: Engine) -> None:
    clock = waiting(engine)
    assert clock.limit_until(None, 1 << 20) == 1 << 20
    assert clock.limit_until(clock.now() + SECOND, 1 << 20) == 1 << 20
    assert clock.limit_until(clock.now() + 160_000, 1 << 20) == 10_000
    assert 1 <= clock.limit_until(clock.now() - SECOND, 1 << 20) < 1000


def test_virtual_time_does_not_wait_long_for_somebody_who_may_type(engine: Engine) -> None:
    clock = VirtualTime(engine)
    clock.jump(5 * SECOND)
    waited: list[float] = []
    clock.wait = waited.append
    clock.jump(10 * SECOND)
    assert clock.now() == 10 * SECOND
    assert 0 < waited[0] < 0.1


def test_clocks_have_names(engine: Engine) -> None:
    assert type(make_clock("virtual", engine)) is VirtualTime
    assert type(make_clock("host", engine)) is HostTime
    with pytest.raises(UsageError, match="clock is virtual or host, not 'sun'"):
        make_clock("sun", engine)
