"""Each interface attaches by what the kernel has for it, and says what it has not."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from compat.report_kernel import report_kernel
from pytest import MonkeyPatch

from kprobesim.compat.judge import Judge
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.settings import LOCKED_DOWN
from kprobesim.compat.syscall_names import SYSCALL_PREFIX, is_dispatched
from kprobesim.functions.facts import Inlining
from kprobesim.sources.versions import Versions
from kprobesim.sources.wanted import Interface, Source, SourceKind, Wanted, WantedArgument
from kprobesim.survey.known import open_known

pytestmark = pytest.mark.compiler


def _wanted(interface: Interface, target: str, **more: object) -> Wanted:
    return Wanted(f"{interface}:{target}", "test", 1, interface, target, **more)  # type: ignore[arg-type]


ATTACHES = [
    (Interface.KPROBE_MULTI, "vfs_read"),
    (Interface.FTRACE, "vfs_read"),
    (Interface.FENTRY, "vfs_read"),
    (Interface.FMOD_RET, "security_file_open"),
    (Interface.LSM, "file_open"),
    (Interface.RAW_TRACEPOINT, "sched_switch"),
    (Interface.TP_BTF, "sched_switch"),
    (Interface.ITER, "task"),
    (Interface.STRUCT_OPS, "tcp_congestion_ops"),
    (Interface.FREPLACE, "anything"),
    (Interface.SYSCALL, "openat"),
]


@pytest.mark.parametrize(("interface", "target"), ATTACHES)
def test_it_attaches(judge: Judge, interface: Interface, target: str) -> None:
    answer = judge.answer(_wanted(interface, target))
    assert not any(finding.errno for finding in answer.findings), answer.worst


REFUSES = [
    (Interface.KPROBE_MULTI, "_copy_from_iter", Kind.NOT_TRACEABLE, errno.ESRCH),
    (Interface.KPROBE_SESSION, "vfs_read", Kind.UNSUPPORTED, errno.EINVAL),
    (Interface.FPROBE_EVENTS, "vfs_read", Kind.UNSUPPORTED, errno.EINVAL),
    (Interface.FENTRY, "bprm_execve", Kind.NO_BTF, errno.ESRCH),
    (Interface.FENTRY, "finish_task_switch", Kind.SUFFIX, errno.ESRCH),
    (Interface.FMOD_RET, "vfs_read", Kind.NOT_OVERRIDABLE, errno.EINVAL),
    (Interface.LSM, "file_lock", Kind.NO_BTF, errno.ESRCH),
    (Interface.LSM, "file_close", Kind.ABSENT, errno.ESRCH),
    (Interface.RAW_TRACEPOINT, "sched_wakeup", Kind.ABSENT, errno.ENOENT),
    (Interface.TP_BTF, "untyped", Kind.NO_BTF, errno.ESRCH),
    (Interface.ITER, "tcp", Kind.UNSUPPORTED, errno.ESRCH),
    (Interface.STRUCT_OPS, "tcp_ulp_ops", Kind.UNSUPPORTED, errno.ESRCH),
    (Interface.STRUCT_OPS, "sched_ext_ops", Kind.UNSUPPORTED, errno.ESRCH),
    (Interface.SYSCALL, "openat9", Kind.ABSENT, errno.ENOENT),
]


@pytest.mark.parametrize(("interface", "target", "kind", "number"), REFUSES)
def test_it_is_refused(
    judge: Judge, interface: Interface, target: str, kind: Kind, number: int
) -> None:
    worst = judge.answer(_wanted(interface, target)).worst
    assert (worst.kind, worst.errno) == (kind, number), worst.message


def test_a_loader_that_prefers_kprobe_multi_takes_the_first_of_a_name(judge: Judge) -> None:
    """Where perf refuses a name that is there several times."""
    by_perf = judge.answer(_wanted(Interface.KPROBE_PERF, "ip_rcv_finish"))
    by_multi = judge.answer(_wanted(Interface.KPROBE_PERF, "ip_rcv_finish", multi=True))
    assert (by_perf.worst.kind, by_multi.worst.kind) == (Kind.AMBIGUOUS, Kind.DUPLICATE)


def test_a_probe_for_other_versions_is_left_out(judge: Judge) -> None:
    since = Versions(since=(99, 0, 0))
    answer = judge.answer(_wanted(Interface.KPROBE_PERF, "no_such_function", versions=since))
    assert answer.worst.kind is Kind.OPTIONAL and "since 99.0" in answer.worst.message


def test_sleepable_programs_go_to_few_functions(judge: Judge) -> None:
    wanted = _wanted(Interface.FENTRY, "vfs_read", sleepable=True)
    assert judge.answer(wanted).worst.kind is Kind.UNSUPPORTED
    assert not judge.answer(replace(wanted, sleepable=False)).worst.errno


def test_what_a_kernel_was_built_without_is_told(judge: Judge, monkeypatch: MonkeyPatch) -> None:
    settings = {"CONFIG_IPV6": "y", "CONFIG_XFS_FS": "n", LOCKED_DOWN: "y"}
    monkeypatch.setattr(judge.kernel.known, "config", settings, raising=False)
    for interface in (Interface.KPROBE_PERF, Interface.KPROBE_EVENTS):
        worst = judge.answer(_wanted(interface, "vfs_read")).worst
        assert (worst.kind, worst.errno) == (Kind.CONFIG, errno.EPERM)
    settings[LOCKED_DOWN] = "n"
    said = {
        name: judge.answer(_wanted(Interface.KPROBE_PERF, name)).worst.message
        for name in ("xfs_file_open", "tcp_v6_connect")
    }
    assert "built without CONFIG_XFS_FS" in said["xfs_file_open"]
    assert "CONFIG" not in said["tcp_v6_connect"]


def test_events_of_system_calls_need_a_setting(judge: Judge, monkeypatch: MonkeyPatch) -> None:
    events = frozenset(("raw_syscalls:sys_enter", "sched:sched_switch"))
    monkeypatch.setattr(judge.kernel.known, "trace_events", events, raising=False)
    worst = judge.answer(_wanted(Interface.TRACEPOINT, "syscalls:sys_enter_openat")).worst
    assert (worst.kind, worst.instead) == (Kind.CONFIG, ("raw_syscalls:sys_enter",))


def test_equal_lines_of_a_list_are_judged_once(judge: Judge, monkeypatch: MonkeyPatch) -> None:
    two = [_wanted(Interface.KPROBE_PERF, name) for name in ("vfs_read", "nothing")]
    lines = [replace(one, line=line) for line in range(1, 4) for one in two]
    expected = [judge.answer(one) for one in lines]
    asked: list[Wanted] = []
    answer = judge.answer
    monkeypatch.setattr(judge, "answer", lambda one, of: [asked.append(one), answer(one, of)][1])
    assert judge.answers([Source(Path("list"), SourceKind.NAMES, tuple(lines))]) == expected
    assert asked == lines[:2]


def test_who_calls_what_only_a_function_calls_runs_a_copy(
    judge: Judge, monkeypatch: MonkeyPatch
) -> None:
    """Without debug information, which says of this kernel that nothing was inlined."""
    unsure = replace(judge.kernel.facts("sock_recvmsg"), inlining=Inlining.UNKNOWN)
    monkeypatch.setitem(judge.kernel._known_facts, "sock_recvmsg", unsure)
    worst = judge.answer(_wanted(Interface.KPROBE_PERF, "sock_recvmsg")).worst
    assert worst.kind is Kind.PARTLY_INLINED
    assert worst.instead == ("security_socket_recvmsg", "kernel_recvmsg")


def test_an_optional_probe_is_forgiven(judge: Judge) -> None:
    answer = judge.answer(_wanted(Interface.FENTRY, "no_such_function", optional=True))
    assert answer.worst.kind is Kind.OPTIONAL and not answer.counts()


def test_patterns_are_counted(judge: Judge) -> None:
    found = {
        pattern: judge.answer(_wanted(Interface.KPROBE_MULTI, pattern, pattern=True)).worst
        for pattern in ("vfs_*", "_copy_from_*", "no_such_*")
    }
    assert found["vfs_*"].kind is Kind.FTRACE and "matches 1 " in found["vfs_*"].message
    assert found["_copy_from_*"].kind is Kind.NOT_TRACEABLE
    assert found["no_such_*"].kind is Kind.ABSENT


def test_arguments_of_a_tracepoint_are_counted_without_its_data(judge: Judge) -> None:
    arguments = tuple(WantedArgument(f"arg{n}", ordinal=n) for n in (1, 2))
    wanted = _wanted(Interface.TP_BTF, "sched_switch", arguments=arguments)
    answer = judge.answer(wanted)
    assert "arg2" in answer.worst.message
    assert not any("arg1" in finding.message for finding in answer.findings)


def test_a_kernel_without_types_takes_kprobes_only(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(report_kernel("x86_64", typed=False))
    judge = Judge(KernelFacts(open_known(image)))
    for interface in (Interface.FENTRY, Interface.LSM, Interface.ITER, Interface.TP_BTF):
        target = "sched_switch" if interface is Interface.TP_BTF else "vfs_read"
        assert judge.answer(_wanted(interface, target)).worst.kind is Kind.NO_BTF
    assert not judge.answer(_wanted(Interface.KPROBE_PERF, "vfs_read")).worst.errno


@pytest.mark.parametrize(("machine", "dispatched"), [("x86_64", None), ("arm64", False)])
def test_calls_of_32_bit_processes_are_known_without_a_table(
    machine: str, dispatched: bool | None
) -> None:
    samples = Path(__file__).parents[2] / "samples"
    asked = KernelFacts(open_known(samples / f"guest-{machine}.elf"))
    assert is_dispatched(asked, f"{SYSCALL_PREFIX[machine]}open") is dispatched
    assert is_dispatched(asked, f"{SYSCALL_PREFIX[machine]}openat") is None
