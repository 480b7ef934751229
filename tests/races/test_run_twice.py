"""One run of a hundred is made twice: whatever is not the same then is told, by its name."""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from kprobesim import CalledKernel, EngineError, call, pct
from kprobesim.races.exploring.trials import Trials

_SYSTEM = {
    "x86_64": lambda k, n: k.machine.engine.write_register("dr0", n),
    "arm64": lambda k, n: k.machine.engine.write_system(13, 0, 3, 3, 2, n),  # TPIDR_EL0
}
PLANTED: dict[str, tuple[Callable[[CalledKernel, int], object], str]] = {
    "RAM": (lambda k, n: k.write(k.symbols["init_task"].address, bytes([n])), "the memory"),
    "a vector register": (lambda k, n: k.machine.cpu.write_vector(7, n), "the registers"),
    "a system register": (lambda k, n: _SYSTEM[k.arch](k, n), "the registers"),
    "the clock": (lambda k, n: k.machine.clock.spend(n), "the time"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_not_the_same_is_told(guest: CalledKernel, what: str) -> None:
    plant, name = PLANTED[what]
    numbers, fork = count(1), call("do_fork", 0, 0)

    def pre(_p: Any, _regs: Any) -> None:
        plant(guest, next(numbers))

    with guest.probing("do_fork", pre_handler=pre), pytest.raises(EngineError) as caught:
        guest.race(a=fork, b=fork, data_races=False)
    message = str(caught.value)
    assert name in message.partition(":")[0] and "kps1:" in message and len(message) < 1024


def test_where_the_host_has_cut_a_run_does_not_matter(
    guest: CalledKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alarms come anywhere, each of which cuts the run that it comes in."""
    again = Trials._again
    monkeypatch.setattr("kprobesim.races.exploring.trials._TWICE", 2)
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    looked = count()

    def looking(self: Trials, *arguments: Any) -> None:
        next(looked)
        again(self, *arguments)

    monkeypatch.setattr(Trials, "_again", looking)
    fork = call("do_fork", 0, 0)
    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
    try:
        guest.race(a=fork, b=fork, data_races=False, explore=pct(runs=30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert next(looked) > 10
