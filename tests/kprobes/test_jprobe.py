"""Jprobes: a Python function that gets the arguments of a kernel function."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kprobesim import Jprobe, Kernel, Kprobe, KprobeError, Kretprobe, Reason, UsageError

TARGET = "kprobe_target"


def test_arguments_by_signature(stepped: Kernel) -> None:
    """Those in registers and those on the stack."""
    seen: list[Any] = []

    def none() -> None:
        seen.append(())

    def two(a: int, b: int) -> None:
        seen.append((a, b))

    def ten(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int, j: int) -> None:
        seen.append((a, b, c, d, e, f, g, h, i, j))

    def some(*args: int) -> None:
        seen.append(args)

    values = tuple(range(2, 12))
    expected = stepped.call("int_pow", *values)
    for entry in (none, two, ten, some):
        jp = Jprobe("int_pow", entry)
        stepped.register_jprobe(jp)
        assert stepped.call("int_pow", *values) == expected
        stepped.unregister_jprobe(jp)
    in_registers = 6 if stepped.arch == "x86_64" else 8
    assert seen == [(), values[:2], values, values[:in_registers]]


def test_registers_and_stack_come_back(stepped: Kernel) -> None:
    def spoil(value: int) -> None:
        regs = stepped.machine.regs
        stepped.write(regs.sp, bytes(min(64, -regs.sp % 4096)))
        for number in range(16):
            regs.set_gpr(number, 0xBAD)
        regs.sp = 0x1000

    stepped.register_jprobe(Jprobe(TARGET, spoil))
    assert stepped.call("kprobe_stacktrace_target", 30) == 10 + 11
    assert stepped.call(TARGET, 30) == 10


def test_one_for_each_address_and_after_the_others(stepped: Kernel) -> None:
    events: list[str] = []
    jp = Jprobe(TARGET, lambda value: events.append(f"jprobe {value}"))
    stepped.register_jprobe(jp)
    stepped.register_kprobe(Kprobe(TARGET, pre_handler=lambda p, regs: events.append("first")))
    with pytest.raises(KprobeError) as refused:
        stepped.register_jprobe(Jprobe(TARGET, lambda: None))
    assert (refused.value.errno, refused.value.reason) == (errno.EEXIST, Reason.ANOTHER_JPROBE)
    stepped.register_kretprobe(Kretprobe(TARGET, lambda ri, regs: events.append("return")))
    assert stepped.call(TARGET, 9) == 3
    assert events == ["first", "jprobe 9", "return"]
    assert [line.split()[1] for line in stepped.kprobes.list().splitlines()] == ["r", "k", "j"]
    stepped.disable_jprobe(jp)
    events.clear()
    stepped.call(TARGET, 9)
    assert events == ["first", "return"]
    stepped.enable_jprobe(jp)
    stepped.unregister_jprobe(jp)
    stepped.register_jprobe(Jprobe(TARGET, lambda value: events.append("again")))
    stepped.call(TARGET, 9)
    assert events[-2:] == ["again", "return"]


def test_probes_hit_in_the_entry_are_missed(stepped: Kernel) -> None:
    inner = Kprobe("kprobe_recursed_target", pre_handler=lambda p, regs: 1 / 0)  # type: ignore[arg-type, return-value]
    results: list[int] = []
    stepped.register_kprobe(inner)
    stepped.register_jprobe(
        Jprobe(TARGET, lambda value: results.append(stepped.call("kprobe_recursed_target", value)))
    )
    assert stepped.call(TARGET, 12) == 4
    assert results == [4]
    assert inner.nmissed == 1


def test_an_entry_that_raises(stepped: Kernel) -> None:
    class Mine(Exception):
        pass

    def explode(value: int) -> None:
        raise Mine

    jp = Jprobe(TARGET, explode)
    stepped.register_jprobe(jp)
    for _ in range(2):
        with pytest.raises(Mine):
            stepped.call(TARGET, 12)
    stepped.unregister_jprobe(jp)
    assert stepped.call(TARGET, 12) == 4


def test_refusals(guest: Kernel) -> None:
    for wrong in (Jprobe(TARGET), Jprobe(TARGET, 5), Kprobe(TARGET)):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            guest.register_jprobe(wrong)  # type: ignore[arg-type]
    with pytest.raises(KprobeError) as refused:
        guest.register_jprobes([Jprobe(TARGET, print), Jprobe("no_such_function", print)])
    assert refused.value.errno == errno.ENOENT
    assert len(guest.kprobes) == 0


def test_a_strict_kernel_without_jprobes(guest: Kernel) -> None:
    guest.kprobes.has_jprobes = False
    guest.register_jprobe(Jprobe(TARGET, lambda: None))
    guest.kprobes.strict = True
    with pytest.raises(KprobeError) as refused:
        guest.register_jprobe(Jprobe(TARGET, lambda: None))
    assert (refused.value.errno, refused.value.reason) == (errno.ENOSYS, Reason.NO_JPROBES)
