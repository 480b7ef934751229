"""On real kernels: what each has of a shape is found by its own symbols, and judged as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.arch.architecture import architecture
from kprobesim.compat.judge import Judge
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind, Level
from kprobesim.sources.wanted import Interface, Wanted, WantedArgument
from kprobesim.survey.known import KnownKernel, open_known


@pytest.fixture(scope="module")
def known(real_image: Path) -> KnownKernel:
    """A real kernel."""
    return open_known(real_image)


@pytest.fixture(scope="module")
def judge(known: KnownKernel) -> Judge:
    """Who answers for it."""
    return Judge(KernelFacts(known))


def _worst(judge: Judge, target: str, interface: Interface, *read: WantedArgument) -> Kind:
    wanted = Wanted(target, "test", 1, interface, target, arguments=read)
    return judge.answer(wanted).worst.kind


def test_functions_that_everybody_probes_attach(judge: Judge) -> None:
    for name in ("vfs_read", "vfs_write", "tcp_sendmsg", "do_exit"):
        wanted = Wanted(name, "test", 1, Interface.KPROBE_PERF, name)
        assert judge.answer(wanted).level <= Level.NOTE


def test_a_clone_without_its_function_is_named(known: KnownKernel, judge: Judge) -> None:
    names = {symbol.name for symbol in known.symbols.functions()}
    clones = sorted(name for name in names if name.endswith(".isra.0"))
    plain = [name.removesuffix(".isra.0") for name in clones]
    alone = next(name for name in plain if name not in known.symbols)
    wanted = Wanted(alone, "test", 1, Interface.KPROBE_PERF, alone)
    worst = judge.answer(wanted).worst
    assert worst.kind is Kind.SUFFIX and f"{alone}.isra.0" in worst.instead


def test_twins_are_refused_or_told(known: KnownKernel, judge: Judge) -> None:
    twin = next(
        symbol.name
        for symbol in known.symbols.functions()
        if len(known.symbols.candidates(symbol.name)) > 1
        and all(judge.kernel.is_traceable(one) for one in known.symbols.candidates(symbol.name))
    )
    refuses = known.rules.model.events_ambiguous_errno is not None
    expected = Kind.AMBIGUOUS if refuses else Kind.DUPLICATE
    assert _worst(judge, twin, Interface.KPROBE_PERF) is expected


def test_what_ftrace_does_not_trace_is_refused(known: KnownKernel, judge: Judge) -> None:
    for name in ("get_kprobe", "notify_die"):
        if name in known.symbols:
            assert _worst(judge, name, Interface.KPROBE_PERF) in (
                Kind.NOT_TRACEABLE,
                Kind.BLACKLISTED,
            )


def test_a_system_call_has_its_arguments_elsewhere(known: KnownKernel, judge: Judge) -> None:
    name = architecture(known.arch).syscall_prefix + "openat"
    read = WantedArgument("arg1", ordinal=1)
    assert _worst(judge, name, Interface.KPROBE_PERF, read) is Kind.ARGUMENT
    assert _worst(judge, "sys_openat", Interface.KPROBE_PERF) is Kind.RENAMED
    assert _worst(judge, "openat", Interface.SYSCALL) in (Kind.FTRACE, Kind.BREAKPOINT)


def test_events_and_tracepoints_are_there(judge: Judge) -> None:
    assert _worst(judge, "sched:sched_switch", Interface.TRACEPOINT) is Kind.ATTACHED
    assert _worst(judge, "syscalls:sys_enter_openat", Interface.TRACEPOINT) is Kind.ATTACHED
    assert _worst(judge, "sched_switch", Interface.RAW_TRACEPOINT) is Kind.ATTACHED
    assert _worst(judge, "no_such:event", Interface.TRACEPOINT) is Kind.ABSENT
