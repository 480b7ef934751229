"""Rings: full ones, small ones, strings with bounds, and arrays without copying."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import CalledKernel, GuestFault, Kprobe
from kprobesim.programs import arg, here
from kprobesim.programs.fault import FAULT

numpy = pytest.importorskip("numpy")


@pytest.fixture(params=[True, False], ids=["compiled", "interpreted"])
def compiled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def _call(guest: CalledKernel, times: int) -> list[tuple[int, int]]:
    """Hits of ``gcd``: their arguments."""
    calls = [(12 + n, 8) for n in range(times)]
    for one, other in calls:
        guest.call("gcd", one, other)
    return calls


@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_a_full_ring_is_drained_without_losing_a_record(
    guest: CalledKernel, compiled: bool, capacity: int
) -> None:
    ring = guest.record("gcd", a=arg(0), b=arg(1).u32, capacity=capacity, compiled=compiled)
    calls = _call(guest, 10)
    assert [*ring] == calls
    assert (len(ring), ring.lost) == (10, 0)
    assert ring[-1].a == 21
    assert ring[2:4] == calls[2:4]
    assert ring.to_numpy()["a"].tolist() == [one for one, _ in calls]
    calls += _call(guest, 5)
    assert [*ring] == calls


@pytest.mark.parametrize("capacity", [1, 3])
def test_a_full_ring_that_drops_counts_what_it_drops(
    guest: CalledKernel, compiled: bool, capacity: int
) -> None:
    ring = guest.record("gcd", a=arg(0), capacity=capacity, full="drop", compiled=compiled)
    calls = _call(guest, 10)
    assert [r.a for r in ring] == [one for one, _ in calls[:capacity]]
    assert ring.lost == 10 - capacity
    ring.clear()
    _call(guest, 1)
    assert ([r.a for r in ring], ring.lost) == ([12], 0)


def test_an_array_is_a_view_of_the_ring(guest: CalledKernel) -> None:
    ring = guest.record("gcd", a=arg(0), at=here, capacity=8)
    _call(guest, 1)
    array = ring.to_numpy()
    assert array["a"].tolist() == [12]
    assert array["at"][0] == guest.symbols["gcd"].address
    ring.clear()
    guest.call("gcd", 99, 1)
    assert array["a"].tolist() == [99]
    array["a"][0] = 7
    assert ring[0].a == 7


def test_strings_have_bounds_and_faults_a_marker(guest: CalledKernel, compiled: bool) -> None:
    ring = guest.record(
        "strlen",
        text=arg(0).string,
        short=arg(0).string.upto(4),
        word=arg(0).deref(0).u16,
        bad=(arg(0) ^ arg(0)).deref(8).s32,
        lost=arg(0).deref(0).string,
        compiled=compiled,
    )
    guest.call("strlen", b"kprobes\xc3\xa4\xff\0")
    guest.call("strlen", "x" * 100)
    first, second = ring
    assert first == ("kprobesä\\xff", "kpr", 0x706B, FAULT, FAULT)
    assert str(first.bad) == "(fault)"
    assert second.text == "x" * 63
    assert ring.to_numpy()["_faults"].tolist() == [0b11000] * 2
    assert ring.to_numpy()["bad"].tolist() == [0, 0]


def test_a_string_ends_where_memory_ends(guest: CalledKernel, compiled: bool) -> None:
    ring = guest.record(
        "strlen", whole=arg(0).string.upto(8), more=arg(0).string.upto(9), compiled=compiled
    )
    page = guest.alloc(4096, guard=True)
    guest.write(page + 4096 - 7, b"letters")  # behind them there is nothing, not even a NUL
    with pytest.raises(GuestFault):
        guest.call("strlen", page + 4096 - 7)
    assert [*ring] == [("letters", FAULT)]


def test_a_drained_ring_grows_in_the_middle_of_a_call(guest: CalledKernel, compiled: bool) -> None:
    ring = guest.record("fib", n=arg(0), capacity=2, compiled=compiled)
    assert guest.call("fib", 7) == 13
    seen: list[int] = []
    probe = Kprobe("fib", pre_handler=lambda p, regs: seen.append(regs.arg(0)))
    with guest.register_kprobe(probe):
        guest.call("fib", 7)
    everything: list[Any] = [r.n for r in ring]
    assert everything == seen * 2


def test_the_guest_may_run_between_two_records(guest: CalledKernel) -> None:
    ring = guest.record("gcd", a=arg(0), capacity=2)
    calls = _call(guest, 2)
    seen = []
    for record in ring:
        seen.append(record.a)
        _call(guest, 3)
    assert seen == [one for one, _ in calls]
    assert len(ring) == 8


def test_what_drains_a_ring_may_fail(guest: CalledKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = guest.record("gcd", a=arg(0), capacity=1)

    def fail() -> bytes:
        raise MemoryError("no room")

    guest.call("gcd", 1, 1)
    monkeypatch.setattr(ring, "_take", fail)
    with pytest.raises(MemoryError, match="no room"):
        guest.call("gcd", 2, 1)
    monkeypatch.undo()
    assert ([r.a for r in ring], ring.lost) == ([1], 1)
    guest.call("gcd", 3, 1)
    assert [r.a for r in ring] == [1, 3]
