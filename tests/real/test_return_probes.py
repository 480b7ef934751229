"""Return probes on real kernels, called and booted."""

from __future__ import annotations

import errno
import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import (
    DieEvent,
    GuestPanic,
    Kernel,
    Kprobe,
    KprobeError,
    Kretprobe,
    Stop,
)

pytestmark = pytest.mark.real_kernel

ENDS = (Stop.POWER_OFF, Stop.HALT)


def _places(trace: str) -> list[str]:
    return re.findall(r"^ ([\w.]+)\+0x", trace, re.M)


@pytest.fixture
def events() -> list[str]:
    return []


def _probe(name: str, events: list[str], **more: Any) -> Kretprobe:
    return Kretprobe(
        name,
        lambda ri, regs: events.append(f"{name}={regs.return_value & 0xFFFFFFFF}"),
        lambda ri, regs: events.append(f"-> {name}"),
        **more,
    )


def test_behind_a_tail_call(real_kernel: Kernel, events: list[str]) -> None:
    """vsprintf() jumps to vsnprintf(): two functions, one return, the newer call's probe first."""
    buffer = bytearray(32)
    probes = [_probe("vsprintf", events), _probe("vsnprintf", events)]
    real_kernel.register_kretprobes(probes)
    try:
        assert real_kernel.call("vsprintf", buffer, "seven!!", bytes(32)) == 7
    finally:
        real_kernel.unregister_kretprobes(probes)
    assert buffer[:8] == b"seven!!\0"
    assert events == ["-> vsprintf", "-> vsnprintf", "vsnprintf=7", "vsprintf=7"]


@pytest.mark.parametrize(("maxactive", "nmissed"), [(0, 0), (1, 2), (2, 1)])
def test_recursion(real_kernel: Kernel, events: list[str], maxactive: int, nmissed: int) -> None:
    """%pV prints by vsnprintf() again; what is not followed returns all the same."""
    k, buffer = real_kernel, bytearray(64)
    nothing = k.alloc(64)
    inner = k.alloc(64)
    formats = [k.alloc(16) for _ in range(2)]
    k.write(formats[0], b"in\0")
    va_format = struct.pack("<QQ", formats[0], nothing)  # struct va_format { fmt, va }
    k.write(inner, va_format)
    if k.arch == "x86_64":  # struct __va_list: offsets behind the registers, what was passed then
        arguments = struct.pack("<IIQQ", 48, 304, nothing + 32, 0)
    else:
        arguments = struct.pack("<QQQii", nothing + 32, 0, 0, 0, 0)
    k.write(nothing + 32, struct.pack("<Q", inner))
    k.write(formats[1], b"mid %pV\0")
    middle = k.alloc(64)
    place = k.alloc(32)
    k.write(place, arguments)
    k.write(middle, struct.pack("<QQ", formats[1], place))
    rp = _probe("vsnprintf", events, maxactive=maxactive)
    k.register_kretprobe(rp)
    try:
        assert k.call("snprintf", buffer, 64, "out %pV", middle) == len("out mid in")
    finally:
        k.unregister_kretprobe(rp)
        for address in (nothing, inner, *formats, middle, place):
            k.free(address)
    assert buffer.startswith(b"out mid in\0")
    returns = ["vsnprintf=2", "vsnprintf=6", "vsnprintf=10"]
    assert events == ["-> vsnprintf"] * (3 - nmissed) + returns[nmissed:]
    assert (rp.nmissed, rp.kp.nmissed) == (nmissed, 0)


def test_call_traces(real_kernel: Kernel) -> None:
    traces: list[str] = []
    rp = Kretprobe("vsnprintf", lambda ri, regs: traces.append(real_kernel.dump_stack()))
    real_kernel.register_kretprobe(rp)
    try:
        with real_kernel.probing(
            "number", pre_handler=lambda p, regs: traces.append(real_kernel.dump_stack())
        ):
            real_kernel.call("snprintf", bytearray(32), 32, "%d", 42)
    finally:
        real_kernel.unregister_kretprobe(rp)
    assert [_places(trace) for trace in traces] == [
        ["number", "vsnprintf", "snprintf"],
        ["snprintf"],
    ]


def test_what_cannot_be_followed(real_kernel: Kernel) -> None:
    if real_kernel.arch == "x86_64":  # it returns in another task
        with pytest.raises(KprobeError) as refused:
            real_kernel.register_kretprobe(Kretprobe("__switch_to"))
        assert refused.value.errno == errno.EINVAL
    for name in ("schedule", "do_exit"):
        rp = Kretprobe(name)
        real_kernel.register_kretprobe(rp)
        real_kernel.unregister_kretprobe(rp)


FOLLOWED = (
    *("kernel_clone", "copy_process", "vfs_write", "vfs_read", "do_filp_open", "path_openat"),
    *("handle_mm_fault", "mutex_lock", "kmem_cache_alloc", "do_wait", "_printk"),
)
"""All of them return. Of the following, some calls never do, and the last not at all."""
ENDLESS = ("schedule", "__schedule", "do_exit", "do_task_dead", "rest_init")


def test_a_booting_kernel_does_not_notice(real_image: Path, boots: Boots) -> None:
    entries: Counter[str] = Counter()
    returns: Counter[str] = Counter()

    def follow(name: str) -> Kretprobe:
        def entry(ri: Any, regs: Any) -> None:
            entries[name] += 1

        def handler(ri: Any, regs: Any) -> None:
            returns[name] += 1
            assert regs.ip == ri.ret_addr

        return Kretprobe(name, handler, entry, maxactive=128)

    k = Kernel.boot(real_image)
    probes = {name: follow(name) for name in FOLLOWED + ENDLESS}
    k.register_kretprobes(list(probes.values()))
    assert k.run().kind in ENDS
    assert k.console.text == boots.outcome(real_image).console
    assert k.time == boots.outcome(real_image).time
    for name in FOLLOWED:
        assert entries[name] == returns[name] > 0, name
    assert returns["do_exit"] == returns["do_task_dead"] == returns["rest_init"] == 0
    assert entries["do_exit"] == entries["do_task_dead"] > 30
    assert not any(rp.nmissed or rp.kp.nmissed for rp in probes.values())
    # Nothing is left of tasks that have ended.
    left = Counter(ri.rp.kp.symbol_name for ri in k.kprobes.returns.pending.values() if ri.rp)
    assert left["do_exit"] == left["do_task_dead"] == 0
    assert left["rest_init"] == 1


def test_call_traces_and_death_of_a_booted_kernel(real_image: Path) -> None:
    k = Kernel.boot(real_image)
    ticks: list[list[str]] = []
    traces: list[list[str]] = []
    events: list[tuple[DieEvent, int]] = []
    tick = Kprobe(
        "update_process_times", pre_handler=lambda p, regs: ticks.append(_places(k.dump_stack()))
    )
    k.register_kprobe(tick)
    k.register_die_notifier(lambda event, regs, trap: events.append((event, regs.ip)))
    k.run("Run /init")
    k.unregister_kprobe(tick)
    # From the timer's interrupt to the bottom of what it has interrupted.
    assert len(ticks) > 40
    assert all(trace[0] == "update_process_times" for trace in ticks)
    bottom = "ret_from_fork|start_kernel|start_secondary|secondary_startup|primary"
    known = sum(bool(re.match(bottom, trace[-1].lstrip("_"))) for trace in ticks)
    assert known >= 0.9 * len(ticks), Counter(trace[-1] for trace in ticks)
    assert (DieEvent.DIE_INT3 in dict(events)) == (k.arch == "x86_64")  # a self-test of its own

    def look(*_: Any) -> None:
        traces.append(_places(k.dump_stack()))

    write, written = Kprobe("vfs_write", pre_handler=look), Kretprobe("vfs_write", look)
    k.register_kprobe(write)
    k.register_kretprobe(written)
    k.run(lambda k: len(traces) >= 2)
    at_entry, at_return = traces[:2]
    assert at_entry[:2] == ["vfs_write", "ksys_write"]
    assert at_return == at_entry[1:]
    assert ("do_syscall_64" if k.arch == "x86_64" else "el0_svc") in at_entry

    def astray(p: Kprobe, regs: Any) -> int:
        regs.ip = 0x10
        return 1

    k.register_kprobe(Kprobe("vfs_write", pre_handler=astray))
    with pytest.raises(GuestPanic):
        k.run()
    assert (DieEvent.DIE_OOPS, 0x10) in events


def test_a_function_of_a_booted_kernel_that_fails(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    with k.override_return("do_pipe2", -24) as override:
        assert k.run().kind in ENDS
    assert override.hits > 0
    assert "17 of 17 steps passed" not in k.console.text
