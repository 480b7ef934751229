"""RCU in races of a real kernel that is called: grace periods wait for readers, and order them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_races import load_rcu_races

from kprobesim import CalledKernel, Exploration, call

pytestmark = pytest.mark.real_kernel


@pytest.fixture
def kernel(real_kernel: CalledKernel, tmp_path: Path) -> Iterator[CalledKernel]:
    """A real kernel with the module, and an object that readers find."""
    k = real_kernel
    state = k.fork_state()
    load_rcu_races(k, tmp_path)
    k.call("rcu_publish", k.alloc(64))
    yield k
    k.restore_state(state)


def race(k: CalledKernel, reader: str, writer: str) -> Exploration:
    new = k.alloc(64)
    try:
        return k.race(a=call(reader), b=call(writer, new), preemptions=1)
    finally:
        k.free(new)


def test_what_is_freed_at_once_is_used(kernel: CalledKernel) -> None:
    failure = race(kernel, "rcu_read", "rcu_replace_racy").failure
    assert failure is not None
    assert "a free in kfree+0x0" in failure.message
    assert any(
        each.what.startswith("frees 8 bytes (0x1 becomes 0x6b6b") for each in failure.standings
    )


@pytest.mark.parametrize("writer", ["rcu_replace_fixed", "rcu_replace_later"])
def test_a_grace_period_orders(kernel: CalledKernel, writer: str) -> None:
    found = race(kernel, "rcu_read", writer)
    assert found.failures == []
    assert found.schedules > 5
    late = race(kernel, "rcu_read_late", writer).failure
    counts = "__rcu_read_lock" in kernel.symbols  # else a whole call reads
    assert (late is not None) == counts


def test_a_pointer_that_comes_before_what_it_leads_to(kernel: CalledKernel) -> None:
    failure = race(kernel, "rcu_read", "rcu_publish_early").failure
    assert (failure is not None) == (kernel.arch == "arm64")
    if failure is not None:
        assert "no barrier lies behind the store" in failure.message


def test_callbacks_run_and_rcu_barrier_waits_for_them(kernel: CalledKernel) -> None:
    new = kernel.alloc(64)
    found = kernel.race(
        a=call("rcu_read"),
        b=[call("rcu_replace_later", new), call("rcu_freed")],
        invariant="(a == 1 or a == 2) and b[1] == 1",
        preemptions=1,
    )
    assert found.failures == []
    other = kernel.race(
        a=call("rcu_replace_later", new), b=call("rcu_freed"), invariant="b <= 1", preemptions=1
    )
    assert other.failures == []
    assert kernel.call("rcu_read") == 1  # the state is what it was


def test_who_waits_for_a_reader_that_waits_for_him(kernel: CalledKernel) -> None:
    if "__rcu_read_lock" not in kernel.symbols:
        pytest.skip("readers cannot sleep where they are not counted")
    mutex = kernel.alloc(64)
    kernel.call("__mutex_init", mutex, 0, 0)
    read = [call("__rcu_read_lock"), call("mutex_lock", mutex), call("mutex_unlock", mutex)]
    update = [call("mutex_lock", mutex), call("synchronize_rcu"), call("mutex_unlock", mutex)]
    found = kernel.race(a=[*read, call("__rcu_read_unlock")], b=update)
    assert found.failure is not None
    assert found.failure.kind == "deadlock"


def test_readers_of_srcu_are_waited_for(kernel: CalledKernel) -> None:
    if "tracepoint_srcu" not in kernel.symbols:
        pytest.skip("this kernel names no variables")
    srcu, seen, copy = kernel.symbols["tracepoint_srcu"].address, kernel.alloc(8), kernel.alloc(8)
    enter, leave = call("__srcu_read_lock", srcu), call("__srcu_read_unlock", srcu, 0)
    use, wait = call("memcpy", copy, seen, 8), call("synchronize_srcu", srcu)
    change = [wait, call("memset", seen, 1, 8)]
    within = kernel.race(a=[enter, use, leave], b=change, preemptions=0)
    behind = kernel.race(a=[enter, leave, use], b=change, preemptions=0)
    assert (within.schedules, behind.schedules) == (2, 1)  # whoever reads first is waited for
    itself = kernel.race(a=[enter, wait], b=leave, preemptions=0)
    assert itself.failure is not None and itself.failure.kind == "deadlock"
    assert "a grace period, for which CPU 0 reads" in str(itself.failure)
