"""Races in a booted kernel: calls of kworkers on two CPUs, which may sleep; and windows forced."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots
from races.executors_setup import counts

from kprobesim import (
    BootedKernel,
    GuestTimeout,
    Kernel,
    PlannedCall,
    ScheduleError,
    UsageError,
    call,
    race_on,
    random_,
)


@pytest.fixture(scope="module")
def two(real_image: Path, boots: Boots) -> BootedKernel:
    """A calm kernel on two CPUs."""
    kernel = boots.shell(real_image, 2).kernel
    kernel.run(seconds=0.5)
    kernel.free(kernel.alloc(8))
    kernel.fork_state()
    return kernel


@pytest.fixture
def kernel(two: BootedKernel) -> Iterator[BootedKernel]:
    """The same, put back."""
    two.restore_state()
    yield two


def test_a_lost_update_is_found_and_replayed(kernel: BootedKernel) -> None:
    file, before = kernel.alloc(256), kernel.time
    kernel.write(file, struct.pack("<4Q", file + 128, 64, 0, 0))  # buf, size, from, count

    def both(_results: object) -> bool:
        count = int.from_bytes(kernel.read(file + 24, 8), "little")
        return (count, sorted(kernel.read(file + 128, count))) == (2, [65, 66])

    calls: dict[str, Any] = {"a": call("seq_putc", file, 65), "b": call("seq_putc", file, 66)}
    found = kernel.race(**calls, preemptions=1, invariant=both, data_races=False)
    assert found.failure is not None
    assert (found.failure.kind, found.failure.schedule.preemptions) == ("invariant", 1)
    assert (kernel.time, kernel.read(file + 24, 8)) == (before, bytes(8))
    text = str(found.failure.schedule)
    again = kernel.race(**calls, invariant=both, data_races=False, schedule=text)
    assert again.failure is not None
    assert again.failure.message == found.failure.message
    told = kernel.race(**calls, preemptions=0, data_races="all")
    assert told.failure is not None and told.failure.kind == "data race"


def test_workers_share_the_runs(two: BootedKernel, tmp_path: Path) -> None:
    path = tmp_path / "calm.kps"
    two.restore_state()
    two.snapshot(path)
    kernel = Kernel.resume(path)
    alone = kernel.race(**counts(kernel), preemptions=1).failure
    kernel = Kernel.resume(path)
    copies = kernel.race(**counts(kernel), preemptions=1, executor=2).failure
    with ThreadPoolExecutor(2) as threads:
        others = race_on(threads, path, counts, preemptions=1).failure
    assert alone is not None and copies is not None and others is not None
    assert str(alone.schedule) == str(copies.schedule) == str(others.schedule)
    with pytest.raises(UsageError, match="boot= is for kernels that boot"):
        race_on(threads, path, counts, boot={})


def test_calls_that_sleep_wait_for_each_other(kernel: BootedKernel) -> None:
    mutex = kernel.alloc(64)
    kernel.call("__mutex_init", mutex, 0, 0)
    both = [call("mutex_lock", mutex), call("mutex_unlock", mutex)]
    found = kernel.race(a=both, b=both, explore=random_(runs=20), data_races=False)
    assert (found.failures, found.schedules) == ([], 20)
    kernel.call("mutex_lock", mutex)
    for a, b in ((call("mutex_unlock", mutex), both), (call("msleep", 5), call("schedule"))):
        found = kernel.race(a=a, b=b, explore=random_(runs=2), data_races=False)
        assert (found.failures, found.schedules) == ([], 2)


def test_who_sleeps_for_long_is_not_dead(kernel: BootedKernel) -> None:
    found = kernel.race(
        a=call("msleep", 900), b=call("int_sqrt", 4), explore=random_(runs=1), data_races=False
    )
    assert found.failures == []


def mutexes(kernel: BootedKernel, count: int) -> list[int]:
    made = []
    for _ in range(count):
        made.append(kernel.alloc(64))
        kernel.call("__mutex_init", made[-1], 0, 0)
    return made


def test_a_deadlock_of_tasks_that_sleep_tells_who_holds_what(kernel: BootedKernel) -> None:
    locks = mutexes(kernel, 2)

    def program(*order: int) -> list[PlannedCall]:
        return [call(f"mutex_{verb}", lock) for verb in ("lock", "unlock") for lock in order]

    found = kernel.race(
        a=program(*locks), b=program(*locks[::-1]), explore=random_(runs=20), data_races=False
    )
    failure = found.failure
    assert failure is not None
    for one, held, wanted in zip(failure.standings, locks, locks[::-1], strict=True):
        assert [lock.address for lock in one.holds] == [held]
        assert f"{wanted:#x}" in one.waits_for
        assert f"on CPU {1 - one.cpu} has it" in one.waits_for
        assert any(frame.startswith("schedule+") for frame in one.stack)
        assert any(frame.startswith("__mutex_lock") for frame in one.stack)


def test_who_has_a_lock_from_before_is_told(kernel: BootedKernel) -> None:
    (mutex,) = mutexes(kernel, 1)
    kernel.call("mutex_lock", mutex)
    waits = kernel.race(
        a=call("mutex_lock", mutex), b=call("int_sqrt", 4), explore=random_(runs=1)
    ).failure
    assert waits is not None and waits.message == "a on CPU 0 waits for ever"
    assert "; kworker/" in waits.standings[0].waits_for


def test_both_accesses_are_told_with_the_locks_held(kernel: BootedKernel, tmp_path: Path) -> None:
    fifo = kernel.alloc(64)
    kernel.write(fifo, struct.pack("<4I2Q", 0, 0, 63, 1, kernel.alloc(64), 0))

    def program() -> list[PlannedCall]:
        (mutex,) = mutexes(kernel, 1)
        return [call("mutex_lock", mutex), call("__kfifo_in", fifo, kernel.alloc(8), 4)]

    failure = kernel.race(a=program(), b=program()).failure
    assert failure is not None and failure.kind == "data race"
    one, two = failure.standings
    assert {one.cpu, two.cpu} == {0, 1} and "" == one.by == two.by
    assert len(one.holds) == len(two.holds) == 1 and one.holds != two.holds
    for each in (one, two):
        assert each.stack[-1].startswith("__kfifo_in+")
        assert "becomes" in each.what
    failure.save(tmp_path / "run.perfetto-trace")
    assert (tmp_path / "run.perfetto-trace").stat().st_size


def test_who_else_acts_is_told_from_the_calls(kernel: BootedKernel) -> None:
    jiffies = kernel.image.exported("jiffies")
    assert jiffies is not None

    def program() -> list[PlannedCall]:
        return [call("memcpy", kernel.alloc(8), jiffies, 8), call("msleep", 4)] * 3

    failure = kernel.race(a=program(), b=program(), explore=random_(runs=4)).failure
    assert failure is not None and failure.kind == "data race"
    assert " by an interrupt" in failure.message
    (tick,) = [each for each in failure.standings if each.by.startswith("an interrupt")]
    (copy,) = [each for each in failure.standings if not each.by]
    assert tick.place.startswith("tick_") and copy.cpu == 1 - tick.cpu
    with kernel.machine.turn:
        trials, ending = kernel.open_race({"a": call("msleep", 5)}, data_races=False)
        with ending:
            trial = trials.follow(())
            who = trials.lanes.actors.of_log(trial.log)
            names = {who(number, each.cpu) for number, each in enumerate(trial.log)}
    assert {"", "swapper/0-0", "an interrupt in swapper/0-0"} <= names


def test_a_guest_that_has_died_is_put_back(kernel: BootedKernel) -> None:
    how: dict[str, Any] = {"explore": random_(runs=1), "data_races": False, "report": False}
    failure = kernel.race(a=call("panic", "oh no"), b=call("int_sqrt", 4), **how).failure
    assert failure is not None and "kernel panic: oh no" in failure.message
    assert kernel.call("int_sqrt", 81) == 9


def test_stores_are_seen_late(kernel: BootedKernel) -> None:
    x, y, seen = (kernel.alloc(16) for _ in range(3))

    def program(mine: int, other: int, result: int) -> list[PlannedCall]:
        return [call("memcpy", mine, b"12345678", 8), call("memcpy", result, other, 8)]

    def both(_results: object) -> bool:
        return kernel.read(seen, 16) != bytes(16)

    how: dict[str, Any] = {"a": program(x, y, seen), "b": program(y, x, seen + 8)}
    how |= {"preemptions": 1, "invariant": both, "data_races": False}
    assert kernel.race(**how).failures == []
    late = kernel.race(**how, memory="tso").failure
    assert late is not None and late.late and late.kind == "invariant"
    again = kernel.race(**how, memory="tso", schedule=str(late.schedule)).failure
    assert again is not None and again.late == late.late


def test_loads_come_early(kernel: BootedKernel) -> None:
    if kernel.arch != "arm64":
        pytest.skip("loads keep their order")
    fifo, data, out = kernel.alloc(64), kernel.alloc(8), kernel.alloc(8)
    kernel.call("__kfifo_init", fifo, data, 8, 1)

    def came_whole(results: dict[str, int]) -> bool:
        return kernel.read(out, results["b"]) == b"AB"[: results["b"]]

    how: dict[str, Any] = {"invariant": came_whole, "data_races": False, "preemptions": 1}
    how |= {"a": call("__kfifo_in", fifo, b"AB", 2), "b": call("__kfifo_out", fifo, out, 2)}
    assert kernel.race(**how, memory="tso").failures == []
    failure = kernel.race(**how, memory="weak").failure
    assert failure is not None and any(piece.early for piece in failure.schedule.slices)
    again = kernel.race(**how, memory="weak", schedule=str(failure.schedule)).failure
    assert again is not None and again.late == failure.late


def test_another_cpu_calls_before_an_instruction(kernel: BootedKernel) -> None:
    place = kernel.alloc(8)
    on: list[int] = []
    watched = kernel.probing("int_sqrt", pre_handler=lambda _p, _regs: on.append(kernel.cpu))
    with watched, kernel.between("__bitmap_set", run=call("int_sqrt", 81), on=1) as window:
        kernel.call("__bitmap_set", place, 0, 1, cpu=0)
    assert (window.results, set(on)) == ([9], {1})
    never = kernel.between("__bitmap_set", run=call("int_sqrt", 81))
    with pytest.raises(UsageError, match="no CPU but 1 came to"), never:
        kernel.call("int_sqrt", 4, cpu=0)


def test_who_waits_for_the_cpu_that_stands_still_is_told(kernel: BootedKernel) -> None:
    mutex = kernel.alloc(64)
    kernel.call("__mutex_init", mutex, 0, 0)
    kernel.call("mutex_lock", mutex)
    window = kernel.between("mutex_unlock", run=call("mutex_lock", mutex))
    with pytest.raises(GuestTimeout, match="while CPU 0 stands before mutex_unlock"), window:
        kernel.call("mutex_unlock", mutex, cpu=0)


def test_a_timer_interrupts_where_it_shall(kernel: BootedKernel) -> None:
    seen: list[int] = []

    def interrupted() -> list[int]:
        seen.clear()
        with kernel.probing("irq_enter_rcu", pre_handler=lambda _p, _r: seen.append(kernel.cpu)):
            assert kernel.call("int_sqrt", 10_000, cpu=1) == 100
        return [*seen]

    quiet = interrupted()
    kernel.restore_state()
    with kernel.interrupt_at("int_sqrt") as ticks:
        more = interrupted()
    assert len(ticks.times) == 1 and more[len(quiet) :] == [1]
    end, text = kernel.time, str(kernel.schedule)
    kernel.restore_state()
    kernel.follow_schedule(text)
    assert (interrupted(), kernel.time, str(kernel.schedule)) == (more, end, text)


def test_one_cpu_has_a_schedule_of_its_interrupts(real_image: Path, boots: Boots) -> None:
    def run(place: str | None, schedule: str | None = None) -> tuple[list[float], float, str]:
        kernel, seen = boots.at_run_init(real_image), list[float]()
        handler = kernel.probing(
            "irq_enter_rcu", pre_handler=lambda _p, _r: seen.append(kernel.time)
        )
        with handler, kernel.interrupt_at(place) if place else nullcontext():
            kernel.run(seconds=0.02, schedule=schedule)
        return seen, kernel.time, str(kernel.schedule)

    plain, forced = run(None), run("do_filp_open")
    assert forced[0] != plain[0]
    assert run(None, forced[2]) == forced
    kernel = boots.at_run_init(real_image)
    kernel.follow_schedule(forced[2])
    with pytest.raises(ScheduleError, match="this guest stands at"):
        kernel.run(seconds=0.001)
        kernel.follow_schedule(forced[2])


def test_too_many_programs_are_refused(kernel: BootedKernel) -> None:
    calls: dict[str, Any] = {name: call("int_sqrt", 4) for name in "abc"}
    with pytest.raises(UsageError, match="3 programs need as many CPUs"):
        kernel.race(**calls)
    with pytest.raises(UsageError, match="on=5"):
        kernel.between("int_sqrt", run=call("int_sqrt", 4), on=5)


def test_a_window_is_forced_in_a_kernel_that_is_called(sample: Path) -> None:
    kernel = Kernel.load(sample)
    seen: list[int] = []
    with kernel.between("int_sqrt", run=call("gcd", 12, 18), on=1, times=2) as window:
        seen += [kernel.call("int_sqrt", n) for n in (4, 9, 16)]
    assert (seen, window.results, window.result) == ([2, 3, 4], [6, 6], 6)
    for wrong in ({"place": "int_sqrt+0x1"}, {"on": 9}, {"times": 0}, {"run": 5}):
        given: dict[str, Any] = {"place": "int_sqrt", "run": call("gcd", 1, 1), **wrong}
        with pytest.raises(UsageError):
            kernel.between(**given)
