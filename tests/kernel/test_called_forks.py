"""A called kernel goes back to a state in memory; the user's probes stay as they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from kprobesim import CalledKernel, GuestFault, Kernel, Kprobe, Kretprobe, UsageError
from kprobesim.machine import ram_image

MODULES = Path(__file__).parents[2] / "samples"


@pytest.fixture(params=["tracked", "compared"])
def k(arch: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CalledKernel:
    """A sample guest, on a host that says which pages were written, and on one that does not."""
    if request.param == "compared":
        monkeypatch.setattr(ram_image, "find_tracker", lambda: None)
    return Kernel.sample(arch)


def memory(k: CalledKernel) -> str:
    """All that the guest can see but what probes and nested calls have put there."""
    digest = hashlib.sha256()
    for region in k.machine.memory.regions:
        if region.name.startswith("kernel "):
            digest.update(k.machine.read_code(region.start, region.end - region.start))
    return digest.hexdigest()


def forks(k: CalledKernel) -> int:
    return k.call("do_fork", 0, 0)  # the number of the new process: 1, 2, 3 ...


def test_everything_is_as_it_was(k: CalledKernel) -> None:
    assert [forks(k), forks(k)] == [1, 2]
    buffer = k.alloc(64)
    k.write(buffer, b"then")
    before = memory(k), k.time, k.machine.regs.as_dict()
    state = k.fork_state()
    for _ in range(3):
        assert [forks(k), forks(k)] == [3, 4]
        k.write(buffer, b"now!")
        other = k.alloc(64)
        guarded = k.alloc(10, guard=True)
        k.call("warn_if", 3)
        with pytest.raises(GuestFault):
            k.call("strlen", 0)
        assert len(k.warnings) == 1
        assert k.restore_state() == state.dirty_pages > 0
        assert (memory(k), k.time, k.machine.regs.as_dict()) == before
        assert k.read(buffer, 4) == b"then"
        assert k.warnings == []
        assert k.alloc(64) == other, "it is free again"
        assert k.alloc(10, guard=True) == guarded
        k.restore_state(state)
    assert forks(k) == 3


def test_several_states(k: CalledKernel) -> None:
    states = []
    for _ in range(3):
        states.append(k.fork_state())
        forks(k)
    for n in (2, 0, 0, 1, 2, 1):
        k.restore_state(states[n])
        assert forks(k) == n + 1
        k.restore_state()
        assert forks(k) == n + 1
    with pytest.raises(UsageError, match="no state of this kernel"):
        k.restore_state(Kernel.sample(k.arch).fork_state())


def test_probes_are_those_of_now(k: CalledKernel) -> None:
    hits: list[str] = []

    def pre(p: Kprobe, regs: Any) -> None:
        hits.append(str(p.symbol_name))

    old, gone = Kprobe("alloc_pid", pre_handler=pre), Kprobe("gcd", pre_handler=pre)
    k.register_kprobes([old, gone])
    text = memory(k)
    state = k.fork_state()
    k.unregister_kprobe(gone)
    new = Kprobe("fib", pre_handler=pre)
    stepped = Kprobe("read_word", pre_handler=pre)
    rp = Kretprobe("int_sqrt", handler=lambda ri, regs: hits.append("returned"))
    k.register_kprobes([new, stepped])
    k.register_kretprobe(rp)
    for _ in range(2):
        k.restore_state(state)
        hits.clear()
        assert forks(k) == 1
        assert (k.call("gcd", 12, 18), k.call("fib", 1), k.call("int_sqrt", 100)) == (6, 1, 10)
        assert k.call("read_word", b"\1" + bytes(7)) == 1
        assert hits == ["alloc_pid", "fib", "returned", "read_word"]
    k.unregister_kprobes([old, new, stepped])
    k.unregister_kretprobe(rp)
    k.restore_state(state)
    hits.clear()
    assert (forks(k), k.call("fib", 1), hits) == (1, 1, [])
    k.restore_state(state)
    assert memory(k) == text
    for name in ("alloc_pid", "gcd", "fib", "read_word", "int_sqrt"):
        at = k.symbols[name].address
        assert k.read(at, 16) == k.machine.read_code(at, 16)


def test_optimised_probes_stay_optimised() -> None:
    k = Kernel.sample("x86_64")
    hits: list[int] = []
    k.register_kprobe(Kprobe("int_sqrt", offset=5, pre_handler=lambda p, regs: hits.append(1)))
    k.kprobes.wait_for_optimizer()
    jump = k.read(k.symbols["int_sqrt"].address + 5, 1)
    state = k.fork_state()
    k.register_kprobe(Kprobe("fib"))
    k.restore_state(state)
    assert k.read(k.symbols["int_sqrt"].address + 5, 1) == jump
    assert k.call("int_sqrt", 100) == 10
    assert hits == [1]


def test_code_of_the_hosts_making_goes(k: CalledKernel) -> None:
    x86 = k.arch == "x86_64"
    one, two = (
        bytes.fromhex(text)
        for text in (
            ("b801000000c3", "b802000000c3") if x86 else ("20008052c0035fd6", "40008052c0035fd6")
        )
    )
    code = k.alloc(16, executable=True)
    k.write(code, one)
    state = k.fork_state()
    for _ in range(3):
        assert k.call(code) == 1
        k.write(code, two)
        assert k.call(code) == 2
        more = k.alloc(2 << 20, executable=True)
        k.write(more, two)
        assert k.call(more) == 2
        k.restore_state(state)
        with pytest.raises(UsageError, match="is not code"):
            k.call(more)
    assert k.call(code) == 1
    free = k.machine.memory.next_frame
    k.alloc(2 << 20, executable=True)
    k.restore_state(state)
    assert k.machine.memory.next_frame <= free, "no frame is lost"


def test_modules_that_came_since_go_again(k: CalledKernel) -> None:
    state = k.fork_state()
    for _ in range(2):
        k.load_module(MODULES / f"module-{k.arch}.ko")
        assert len(k.modules) == 1
        k.restore_state(state)
        assert len(k.modules) == 0
        assert forks(k) == 1
    k.load_module(MODULES / f"module-{k.arch}.ko")
    loaded = k.fork_state()
    k.unload_module(next(iter(k.modules)).name)
    with pytest.raises(UsageError, match="have been unloaded"):
        k.restore_state(loaded)


def test_not_in_a_handler(k: CalledKernel) -> None:
    errors: list[str] = []

    def pre(p: Kprobe, regs: Any) -> None:
        for action in (k.fork_state, k.restore_state):
            try:
                action()
            except UsageError as error:
                errors.append(str(error))

    with k.probing("gcd", pre_handler=pre):
        k.call("gcd", 12, 18)
    assert len(errors) == 2 and all("between two calls" in error for error in errors)
    with pytest.raises(UsageError, match=r"fork_state\(\) first"):
        k.restore_state()
