"""Counters: live, compiled, and like the probes of Python that they share an address with."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, Kprobe, UsageError
from kprobesim.programs import arg
from kprobesim.programs.stores.counts import Counts
from kprobesim.programs.stores.single import Counter


@pytest.mark.parametrize("compiled", [True, False])
def test_a_counter_is_live(guest: CalledKernel, compiled: bool) -> None:
    hits = guest.count("gcd", compiled=compiled)
    assert hits.compiled is compiled
    assert hits == 0
    guest.call("gcd", 12, 8)
    assert hits == 1
    hits.remove()
    guest.call("gcd", 12, 8)
    assert int(hits) == 1
    assert len(guest.kprobes) == 0


def test_a_counter_is_compared_as_a_number() -> None:
    hits = Counter()
    hits.add((), 1)
    hits.add((), 1)
    assert hits < 2.5, "not with the whole part of it"
    assert hits > 1
    assert hits >= Counter()
    assert hits != "2"
    assert f"{hits:3d}" == "  2"
    with pytest.raises(TypeError):
        assert hits < "5"
    with pytest.raises(UsageError, match="is of type Counter"):
        assert arg(0) > hits
    with pytest.raises(UsageError, match="is of type Counter"):
        assert hits == arg(0)


@pytest.mark.parametrize("compiled", [True, False])
def test_programs_and_handlers_are_called_newest_first(guest: CalledKernel, compiled: bool) -> None:
    order: list[tuple[int, int]] = []
    last: Counter | Counts
    first = guest.count("gcd", compiled=compiled)
    probe = Kprobe("gcd", pre_handler=lambda p, regs: order.append((int(first), int(last))))
    guest.register_kprobe(probe)
    last = guest.count("gcd", when=arg(0) > 3, compiled=compiled)
    guest.call("gcd", 12, 8)
    guest.call("gcd", 3, 8)
    assert order == [(0, 1), (1, 1)]
    assert (int(first), int(last)) == (2, 1)


def test_a_disabled_program_counts_nothing(guest: CalledKernel) -> None:
    one, other = guest.count("gcd"), guest.count("gcd")
    for hits, expected in ((one, (0, 1)), (other, (0, 1))):
        hits.disable()
        guest.call("gcd", 12, 8)
        assert (int(one), int(other)) == expected
    one.enable()
    guest.call("gcd", 12, 8)
    assert (int(one), int(other)) == (1, 1)
