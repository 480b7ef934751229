"""What is kept by key, and histograms: growing tables, keys of several parts, slots."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, UsageError
from kprobesim.programs import arg, here
from kprobesim.programs.fault import FAULT
from kprobesim.programs.stores.cells import Total


@pytest.fixture(params=[True, False], ids=["compiled", "interpreted"])
def compiled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_keys_come_in_the_order_of_their_coming(guest: CalledKernel, compiled: bool) -> None:
    table = guest.count("gcd", key=arg(0), compiled=compiled)
    for n in (7, 3, 7, 9, 3, 7):
        guest.call("gcd", n, 1)
    assert table.items() == [(7, 3), (3, 2), (9, 1)]
    assert table[3] == 2
    assert 4 not in table
    table.clear()
    guest.call("gcd", 3, 1)
    assert dict(table) == {3: 1}


def test_a_table_grows(guest: CalledKernel, compiled: bool) -> None:
    table = guest.count("gcd", key=(arg(0), arg(1).s64 - 2), compiled=compiled)
    for n in range(1, 300):
        guest.call("gcd", n, 1)
    assert table.items() == [((n, -1), 1) for n in range(1, 300)]
    assert table.lost == 0


def test_too_many_keys_are_one_clear_error(guest: CalledKernel, compiled: bool) -> None:
    table = guest.count("gcd", key=arg(0), max_keys=3, compiled=compiled)
    for n in (1, 2, 3):
        guest.call("gcd", n, 1)
    with pytest.raises(UsageError, match="more than 3 different keys: give a larger max_keys"):
        guest.call("gcd", 4, 1)
    guest.call("gcd", 2, 1)
    assert table.items() == [(1, 1), (2, 2), (3, 1)]
    assert table.lost == 1


def test_texts_and_faults_are_keys(guest: CalledKernel, compiled: bool) -> None:
    table = guest.count(
        "strlen", key=(arg(0).string.upto(6), arg(0).deref(0).deref(0)), compiled=compiled
    )
    for text in ("one", "three", "three and more", "one"):
        guest.call("strlen", text)
    assert table.items() == [(("one", FAULT), 2), (("three", FAULT), 2)]


def test_sums_and_extremes(guest: CalledKernel, compiled: bool) -> None:
    value = arg(0).s32
    everything = guest.sum("gcd", value, compiled=compiled)
    least, most = (
        getattr(guest, verb)("gcd", value, key=arg(1), compiled=compiled) for verb in ("min", "max")
    )
    assert everything.value == Total(0, 0)
    for one, other in ((5, 1), (-3 & 0xFFFF_FFFF, 1), (2, 2)):
        guest.call("gcd", one, other)
    assert everything.value == Total(4, 3)
    assert everything.value.mean == pytest.approx(4 / 3)
    assert dict(least) == {1: Total(-3, 2), 2: Total(2, 1)}
    assert dict(most) == {1: Total(5, 2), 2: Total(2, 1)}


def test_histograms(guest: CalledKernel, compiled: bool) -> None:
    log2 = guest.histogram("gcd", arg(0).s64, log2=True, compiled=compiled)
    linear = guest.histogram("gcd", arg(0).s64, linear=(0, 20, 10), compiled=compiled)
    by_place = guest.histogram("gcd", arg(0), key=here, compiled=compiled)
    for n in (1, 2, 3, 9, 10, 25, -4):
        guest.call("gcd", n, 1)
    assert dict(log2.value) == {
        (None, -1): 1,
        (1, 1): 1,
        (2, 3): 2,
        (8, 15): 2,
        (16, 31): 1,
    }
    assert dict(linear.value) == {(None, -1): 1, (0, 9): 4, (10, 19): 1, (20, None): 1}
    assert log2.value.total == linear.value.total == 7
    assert "8 .. 15                    2 |####" in str(log2)
    assert by_place[guest.symbols["gcd"].address].total == 7
