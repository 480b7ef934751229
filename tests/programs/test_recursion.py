"""Programs at hits that come while a probe is being handled: missed, as the kernel's probes are."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, Hit, HitKind, Kprobe


@pytest.mark.parametrize("compiled", [True, False])
def test_a_hit_in_a_call_of_a_handler_is_missed(guest: CalledKernel, compiled: bool) -> None:
    hits = guest.count("fib", compiled=compiled)
    guest.register_kprobe(Kprobe("gcd", pre_handler=lambda p, regs: guest.call("fib", 1) and None))
    guest.call("gcd", 12, 8)
    assert (int(hits), hits.planted.nmissed) == (0, 1)
    guest.call("fib", 1)
    assert (int(hits), hits.planted.nmissed) == (1, 1)


def test_a_listener_hears_of_compiled_hits(guest: CalledKernel) -> None:
    hits, heard = guest.count("gcd"), list[Hit]()
    with guest.on_hit(heard.append):
        guest.call("gcd", 12, 8)
    guest.call("gcd", 12, 8)
    assert [hit.kind for hit in heard] == [HitKind.HIT]
    assert heard[0].probe is hits.planted.probes[0]
    assert hits == 2


def test_a_handler_may_unregister_a_program_beside_it(guest: CalledKernel) -> None:
    hits = guest.count("gcd")
    probe = Kprobe("gcd", pre_handler=lambda p, regs: hits.remove())
    guest.register_kprobe(probe)  # the newest comes first
    guest.call("gcd", 12, 8)
    guest.call("gcd", 12, 8)
    assert hits == 0
    assert [*guest.kprobes] == [probe]
