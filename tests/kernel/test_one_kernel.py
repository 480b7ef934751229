"""One ``Kernel``: called or booted, the same class, the same words."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from makers.arm64_code import LOOP, POWER_OFF, bare_guest, say

import kprobesim
from kprobesim import (
    BootedKernel,
    CalledKernel,
    CallStopped,
    GuestEnd,
    GuestTimeout,
    Kernel,
    Kprobe,
    OtherKernelError,
    Stop,
    UsageError,
    open_rules,
)
from kprobesim.boot.boards import board_class
from kprobesim.image import load_image
from kprobesim.inside.warnings import console_warnings
from kprobesim.kernel.samples import sample_path


def test_both_are_a_kernel(sample: Path) -> None:
    called = Kernel.load(sample)
    image = bare_guest(say("hi"))
    booted = BootedKernel(
        image, board_class("arm64")(image, initrd=None, append="", memory=16 << 20)
    )
    assert type(called) is CalledKernel
    for k in (called, booted):
        assert isinstance(k, Kernel)


def test_the_same_names_and_defaults() -> None:
    """What two of load, boot and resume take, they take in the same words."""
    known: dict[str, object] = {}
    for method in (Kernel.load, Kernel.boot, Kernel.resume):
        parameters = inspect.signature(method).parameters
        assert {"memory", "probes", "model", "strict", "progress"} <= set(parameters)
        for name, parameter in parameters.items():
            assert known.setdefault(name, parameter.default) == parameter.default, name


def test_an_image_that_was_read_already_is_run(sample: Path) -> None:
    image = load_image(sample)
    for k in (Kernel.load(image), Kernel.boot(image, cpus=2)):
        assert k.image.path == image.path
    runs: list[Any] = [Kernel.load, Kernel.boot]
    for run in runs:
        with pytest.raises(UsageError, match="symbols are for files"):
            run(image, symbols=sample)
        with pytest.raises(UsageError, match="path is of type int: name a file"):
            run(7)


def test_a_sample_is_there_without_a_file(arch: str) -> None:
    k = Kernel.sample(arch)
    assert (k.arch, k.image.path) == (arch, sample_path(arch))
    assert k.call("gcd", 12, 18) == 6
    with pytest.raises(UsageError, match="there are x86_64 and arm64"):
        Kernel.sample("mips")


def test_a_verb_of_another_kind_of_kernel(sample: Path) -> None:
    kernels: list[Any] = [Kernel.load(sample), Kernel.boot(sample), open_rules(sample)]
    called, booted, read = kernels
    for kernel, name, where in (
        (called, "schedule", "is for kernels that boot: Kernel.boot"),
        (booted, "load_module", "is for kernels whose functions are called: Kernel.load"),
        (read, "race", "is for kernels that run, and this one is only read"),
        (read, "policy", "is for kernels that boot"),
    ):
        with pytest.raises(OtherKernelError, match=f"{name} {where}"):
            getattr(kernel, name)
        assert not hasattr(kernel, name)
    for kernel in kernels:
        with pytest.raises(AttributeError, match="object has no attribute 'rase'"):
            kernel.rase()
        assert not hasattr(kernel, "_ipython_display_")


def test_probes_of_a_load_are_planted_at_once(arch: str) -> None:
    hits = []
    k = Kernel.sample(arch, probes=[Kprobe("gcd", pre_handler=lambda p, regs: hits.append(p))])
    k.call("gcd", 12, 18)
    assert len(hits) == 1
    with pytest.raises(UsageError, match="give a Kprobe"):
        Kernel.sample(arch, probes=["gcd"])


def test_a_handler_stops_a_call(arch: str) -> None:
    k = Kernel.sample(arch)
    k.stop()  # nothing runs: nothing happens
    with (
        k.probing("gcd", pre_handler=lambda p, regs: k.stop()),
        pytest.raises(CallStopped, match="was stopped"),
    ):
        k.call("gcd", 12, 18)
    assert k.call("gcd", 12, 18) == 6


def test_a_handlers_own_call_is_stopped_with_the_one_around_it(arch: str) -> None:
    k = Kernel.sample(arch)
    after = []

    def pre(p: object, regs: object) -> None:
        k.stop()
        try:
            k.call("gcd", 12, 18)
        finally:
            after.append(k.machine.depth)

    with k.probing("gcd", pre_handler=pre), pytest.raises(CallStopped):
        k.call("gcd", 12, 18)
    assert after == [1]
    assert k.call("gcd", 12, 18) == 6


def test_time_goes_on_when_the_guest_looks(arch: str) -> None:
    k = Kernel.sample(arch)
    code = k.alloc(16, executable=True)
    k.write(code, bytes.fromhex("0f31c3" if arch == "x86_64" else "40e03bd5c0035fd6"))
    before = k.time
    assert before > 0
    k.call(code)  # rdtsc; ret, or mrs x0, cntvct_el0; ret
    assert k.time > before


@pytest.mark.real_kernel
def test_current_is_the_swapper(real_kernel: Kernel) -> None:
    task = real_kernel.current
    assert task is not None
    assert (task.pid, task.tgid) == (0, 0)
    assert task.comm == "swapper" or not real_kernel.symbols.candidates("init_task")


def bare() -> BootedKernel:
    image = bare_guest([*say("hi"), *POWER_OFF, LOOP])
    board = board_class("arm64")(image, initrd=None, append="", memory=16 << 20)
    return BootedKernel(image, board)


def test_what_a_run_waits_for_comes_or_is_missed_loudly() -> None:
    assert bare().run(until="hi")
    assert bare().run(until=lambda k: True).kind is Stop.CONDITION
    assert bare().run(until=1e-9).kind is Stop.SECONDS
    reason = bare().run(until="ho", seconds=1e-9)
    assert not reason and reason.kind is Stop.SECONDS
    with pytest.raises(GuestTimeout, match="before the text 'ho' came; the guest can go on"):
        bare().run(until="ho", timeout=1e-9)
    k = bare()
    for _ in range(2):  # it stays dead
        with pytest.raises(GuestEnd, match="ended before the text 'ho' came"):
            k.run(until="ho")
    with pytest.raises(GuestEnd, match="ended before the condition held"):
        k.run(until=lambda k: False)
    assert k.run().kind is Stop.POWER_OFF
    assert not bare().run(timeout=1e-9)
    with pytest.raises(UsageError, match="both times"):
        k.run(until=1.0, seconds=1.0)


CONSOLE = """\
[    0.512345] ------------[ cut here ]------------
[    0.512400] WARNING: CPU: 0 PID: 1 at lib/some_file.c:42 gcd+0x4/0x10
[    0.512500] Modules linked in:
[    0.512600] Call Trace:
[    0.512700]  <TASK>
[    0.512800]  ? gcd+0x1/0x10
[    0.512900]  caller+0x12/0x40 [mod]
[    0.513000]  </TASK>
[    0.513100] ---[ end trace 0000000000000000 ]---
[    0.600000] WARNING: kernel/other.c:7 at nobody+0x0/0x1, CPU#0: swapper/0/1
[    0.600100] Call trace:
[    0.600200]  gcd+0x8/0x10
"""


def test_warnings_on_a_console(arch: str) -> None:
    symbols = Kernel.sample(arch).symbols
    first, second = console_warnings(CONSOLE.replace("\n", "\r\n"), symbols)
    assert (first.file, first.line, first.place) == ("lib/some_file.c", 42, "gcd+0x4/0x10")
    assert first.address == symbols["gcd"].address + 4
    assert first.trace == ("? gcd+0x1/0x10", "caller+0x12/0x40 [mod]")
    assert (second.file, second.line, second.address) == ("kernel/other.c", 7, 0)
    assert second.trace == ("gcd+0x8/0x10",)
    assert console_warnings("nothing to see", symbols) == []


def test_everything_exported_is_there() -> None:
    for name in kprobesim.__all__:
        assert getattr(kprobesim, name) is not None
