"""Stores that other CPUs see late: what each model allows, no more and no less."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import pytest
from kernel_races import KNOWN_LATE, KnownRace, load_races
from races.arm64_model import arm64_outcomes
from races.litmus import PLACES, Litmus
from races.reference_models import outcomes

from kprobesim import CalledKernel, Kernel, ScheduleError, UsageError, call, pct, random_
from kprobesim.races.exploring.exploring import Explore
from kprobesim.races.schedule import Early, Schedule, Slice

MODELS = {"x86_64": ["tso"], "arm64": ["tso", "weak"]}
SMP_WMB = bytes.fromhex("bf3a03d5")  # dmb ishst
NOP = bytes.fromhex("1f2003d5")
TESTS = {
    "store buffering": ("x=1 y", "y=1 x"),
    "store buffering with barriers": ("x=1 mb y", "y=1 mb x"),
    "store buffering with an exchange": ("xchg:x=1 y", "y=1 mb x"),
    "message passing": ("x=1 y=1", "y x"),
    "message passing with a barrier": ("x=1 wmb y=1", "y x"),
    "message passing with a release": ("x=1 y:=1", "y? x"),
    "load buffering": ("x y=1", "y x=1"),
    "S": ("x=2 y=1", "y x=1"),
    "R": ("x=1 y=1", "y=2 x"),
    "2+2W": ("x=1 y=2", "y=1 x=2"),
    "coherence": ("x=1 x=2", "x x"),
    "own stores": ("x=1 x y", "y=1 y x"),
    "releases and acquires": ("x:=1 y?", "y:=1 x?"),
}
ARM64_TESTS = {
    "message passing, loads ordered": ("x=1 wmb y=1", "y rmb x"),
    "message passing, stores not ordered": ("x=1 y=1", "y rmb x"),
    "message passing, by an address": ("x=1 wmb y=1", "y @x"),
    "message passing, by a branch": ("x=1 wmb y=1", "y ctrl x"),
    "message passing, by a branch and isb": ("x=1 wmb y=1", "y ctrl isb x"),
    "message passing, by an isb alone": ("x=1 wmb y=1", "y isb x"),
    "message passing, by an acquire": ("x=1 wmb y=1", "y? x"),
    "message passing, by a lock": ("x=1 swpl:y=1", "swpa:y=2 x"),
    "message passing, by an exchange": ("x=1 swp:y=1", "y rmb x"),
    "store buffering with locks": ("swpal:x=1 y", "swpal:y=1 x"),
    "load buffering with data": ("x ~y=1", "y ~x=1"),
    "forwarded": ("x=1 wmb y=1", "y ~z=1 z x"),
    "forwarded to an address": ("x=1 wmb y=1", "y ~z=1 z @x"),
    "coherence of a released place": ("x=1 y:=1 y=2", "y rmb x"),
    "S, by data": ("x=2 wmb y=1", "y ~x=1"),
    "R with barriers": ("x=1 mb y=1", "y=2 mb x"),
    "WRC": ("x=1", "x ~y=1", "y @x"),
    "WRC without an address": ("x=1", "x ~y=1", "y x"),
    "ISA2": ("x=1 wmb y=1", "y ~z=1", "z @x"),
    "IRIW with barriers": ("x=1", "y=1", "x rmb y", "y rmb x"),
}


LATE = {race.name: race for race in KNOWN_LATE}


@cache
def late_races(arch: str) -> CalledKernel:
    return load_races(arch)


@pytest.mark.parametrize("name", TESTS)
def test_programs_do_what_their_model_allows(guest: CalledKernel, name: str) -> None:
    litmus = Litmus(guest, TESTS[name])
    for model in MODELS[guest.arch]:
        assert litmus.outcomes(model) == outcomes(model, litmus.programs), model


@pytest.mark.parametrize("name", ARM64_TESTS)
def test_loads_come_early_where_nothing_holds_them(name: str) -> None:
    litmus = Litmus(Kernel.sample("arm64"), ARM64_TESTS[name])
    assert litmus.outcomes("weak") == outcomes("weak", litmus.programs)
    assert outcomes("weak", litmus.programs) <= arm64_outcomes(litmus.programs)


def test_without_a_model_all_see_all_at_once(guest: CalledKernel) -> None:
    litmus = Litmus(guest, TESTS["store buffering"])
    assert litmus.outcomes(None) == outcomes(None, litmus.programs)


@pytest.mark.parametrize("race", KNOWN_LATE, ids=[race.name for race in KNOWN_LATE])
def test_a_race_of_late_stores_is_found_replayed_and_mended(arch: str, race: KnownRace) -> None:
    if not race.shows_on(arch):
        pytest.skip("this architecture keeps the order")
    kernel = late_races(arch)
    assert race.race(kernel, "racy", memory=None).failures == []
    failure = race.race(kernel, "racy").failure
    assert failure is not None and failure.kind == race.kind
    special = [piece for piece in failure.schedule.slices if piece.held or piece.early]
    assert len(special) == 1 and failure.schedule.preemptions == 0
    assert failure.late and all("_racy+0x" in each for each in failure.late)
    for _ in range(2):
        (again,) = race.race(kernel, "racy", schedule=str(failure.schedule)).failures
        assert str(again) == str(failure)
    with pytest.raises(ScheduleError, match="of another race"):
        race.race(kernel, "racy", schedule=str(failure.schedule), memory=None)
    assert race.race(kernel, "fixed").failures == []


@pytest.mark.parametrize("explore", [pct(depth=2, runs=60), random_(runs=60)])
@pytest.mark.parametrize("name", ["sleep_flag", "read_slowpath"])
def test_samples_find_them_too(arch: str, name: str, explore: Explore) -> None:
    race = LATE[name]
    if not race.shows_on(arch):
        pytest.skip("this architecture keeps the order")
    assert race.race(late_races(arch), "racy", explore=explore).failure is not None
    assert race.race(late_races(arch), "fixed", explore=explore).failure is None


def test_only_the_named_functions_store_late(arch: str) -> None:
    race, kernel = LATE["sleep_flag"], late_races(arch)
    assert race.race(kernel, "racy", delay=["sq_thread_racy"]).failure is not None
    assert race.race(kernel, "racy", delay="sq_thread_fixed").failure is None


@pytest.mark.real_kernel
def test_barriers_of_a_real_kernel_are_missed(real_kernel: CalledKernel) -> None:
    k, model = real_kernel, MODELS[real_kernel.arch][-1]
    fifo, data, out = k.alloc(24), k.alloc(8), k.alloc(8)
    k.call("__kfifo_init", fifo, data, 8, 1)
    calls: dict[str, Any] = {
        "a": call("__kfifo_in", fifo, b"AB", 2),
        "b": call("__kfifo_out", fifo, out, 2),
    }

    def came_whole(results: dict[str, int]) -> bool:
        return k.read(out, results["b"]) == b"AB"[: results["b"]]

    how: dict[str, Any] = {"invariant": came_whole, "data_races": False, "preemptions": 1}
    assert k.race(**calls, **how, memory="tso").failures == []
    if model == "tso":
        return  # it orders stores and loads by itself, so there are no barriers
    # How much there is is loaded before what there is; but a branch alone orders no loads.
    failure = k.race(**calls, **how, memory=model).failure
    assert failure is not None and failure.schedule.preemptions == 0
    (piece,) = [piece for piece in failure.schedule.slices if piece.held or piece.early]
    assert piece.early
    copy_in = k.symbols["kfifo_copy_in"].address
    code = k.read(copy_in, 256)
    k.write(copy_in + code.index(SMP_WMB), NOP)
    assert k.race(**calls, **how).failures == []
    failure = k.race(**calls, **how, memory=model).failure
    assert failure is not None and failure.schedule.preemptions == 0
    assert any(piece.held for piece in failure.schedule.slices)


def test_a_failure_with_many_late_stores_is_replayed(guest: CalledKernel) -> None:
    fork = call("do_fork", 0, 0)
    how: dict[str, Any] = {"data_races": False, "memory": "tso", "invariant": "a != b"}
    failure = guest.race(a=fork, b=fork, explore=random_(runs=20), **how).failure
    assert failure is not None
    assert len(str(failure.schedule)) < 200
    (again,) = guest.race(a=fork, b=fork, schedule=str(failure.schedule), **how).failures
    assert str(again) == str(failure)


def test_an_oops_by_an_early_load_is_replayed() -> None:
    kernel = Kernel.sample("arm64")
    area = kernel.alloc(256)
    kernel.write(area, bytes(256))
    # str x0, [x0]; dmb ishst; mov w9, #1; str w9, [x0, #64]; ret
    publish = [0xF900_0000, 0xD503_3ABF, 0x5280_0029, 0xB900_4009, 0xD65F_03C0]
    # ldr w1, [x0, #64]; cbz w1, to the end; ldr x2, [x0]; ldr x3, [x2]; ret
    follow = [0xB940_4001, 0x3400_0061, 0xF940_0002, 0xF940_0043, 0xD65F_03C0]
    programs: dict[str, Any] = {"other": call("gcd", 12, 18)}
    for name, words in (("publish", publish), ("follow", follow)):
        address = kernel.alloc(4 * len(words), executable=True)
        kernel.write(address, struct.pack(f"<{len(words)}I", *words))
        programs[name] = call(address, area)
    programs["more"] = call("gcd", 12, 18)
    assert kernel.race(**programs, data_races=False, memory="tso").failures == []
    failure = kernel.race(**programs, data_races=False, memory="weak").failure
    assert failure is not None and failure.kind == "oops" and failure.late
    text = str(failure.schedule)
    again = kernel.race(**programs, data_races=False, memory="weak", schedule=text).failure
    assert str(again) == str(failure)


def test_what_is_late_is_seen_by_who_waits_for_it(guest: CalledKernel) -> None:
    litmus = Litmus(guest, ("x=1", "spin:x y"))
    found = litmus.outcomes("tso", explore=random_(runs=20))
    assert found == {(((), (1, 0)), (1, *[0] * (len(PLACES) - 1)))}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"memory": "sc"}, "give 'tso' or 'weak'"),
        ({"delay": ["do_fork"]}, "give memory= with it"),
        ({"memory": "tso", "delay": 3}, "the names of functions"),
        ({"memory": "tso", "delay": ["no_such_function"]}, "no_such_function"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_model(
    guest: CalledKernel, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises((UsageError, LookupError), match=problem):
        guest.race(a=call("do_fork", 0, 0), **given)
    if guest.arch == "x86_64":
        with pytest.raises(UsageError, match="is for ARM64"):
            guest.race(a=call("do_fork", 0, 0), memory="weak")


def test_late_stores_and_early_loads_are_in_the_schedules_text() -> None:
    early = (Early(2, 0, 9), Early(4, 0, 3))
    slices = (Slice(0, 12, 7, (3, 9, 400)), Slice(1, 0, None, (), early), Slice(0, 5, 1, (13,)))
    schedule = Schedule(1, 2, slices)
    assert Schedule.parse(str(schedule)) == schedule
    assert schedule.describe() == "0:12[3,9,400] 1:(2<0.9,4<0.3) 0:5[13]"
