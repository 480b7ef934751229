"""TracingPolicies: each section, lists, several documents, and YAML that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind, Wanted, WantedArgument

HEAD = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: policy\n"


def read(text: str) -> Source:
    source = read_text(text, Path("policy.yaml"))
    assert source.kind is SourceKind.TETRAGON
    return source


def of(**spec: Any) -> Source:
    return read(HEAD + yaml.safe_dump({"spec": spec}))


def one(**spec: Any) -> Wanted:
    source = of(**spec)
    assert source.problems == ()
    (wanted,) = source.wanted
    return wanted


def test_a_kprobe_has_its_line_and_its_policys_name() -> None:
    source = read(HEAD + 'spec:\n  kprobes:\n  - syscall: false\n    call: "fd_install"\n')
    (wanted,) = source.wanted
    assert (wanted.interface, wanted.target) == (Interface.KPROBE_PERF, "fd_install")
    assert (wanted.line, wanted.program, wanted.optional) == (8, "policy", False)
    assert wanted.needs_btf


@pytest.mark.parametrize(
    ("call", "system", "interface", "target"),
    [
        ("sys_openat", True, Interface.SYSCALL, "openat"),
        ("openat", True, Interface.SYSCALL, "openat"),
        ("__x64_sys_openat", True, Interface.KPROBE_PERF, "__x64_sys_openat"),
        ("sys_openat", False, Interface.KPROBE_PERF, "sys_openat"),
        ("do_init_module.isra.0", False, Interface.KPROBE_PERF, "do_init_module.isra.0"),
    ],
)  # fmt: skip
def test_system_calls(call: str, system: bool, interface: Interface, target: str) -> None:
    wanted = one(kprobes=[{"call": call, "syscall": system}])
    assert (wanted.interface, wanted.target) == (interface, target)


def test_what_a_kprobe_reads() -> None:
    arguments = [
        {"index": 0, "type": "file"},
        {"index": 1, "type": "int", "resolve": "mm.owner.tasks[3].comm"},
        {"index": 1, "type": "uint16", "btfType": "sockaddr_in", "resolve": "sin_port"},
        {"index": 2, "type": "nop"},
        {"index": 0, "type": "int", "source": "pt_regs", "resolve": "rax"},
    ]
    data = [{"index": 0, "type": "string", "source": "current_task", "resolve": "comm"}]
    assert one(kprobes=[{"call": "f", "args": arguments, "data": data}]).arguments == (
        WantedArgument("args[0]", ordinal=0, type="struct file"),
        WantedArgument(
            "args[1].mm.owner.tasks[3].comm", ordinal=1, members=("mm", "owner", "tasks", "comm")
        ),
        WantedArgument(
            "args[1].sin_port", ordinal=1, type="struct sockaddr_in", members=("sin_port",)
        ),
        WantedArgument("args[2]", ordinal=2),
        WantedArgument("pt_regs: rax", register="rax"),
        WantedArgument("current_task.comm", type="struct task_struct", members=("comm",)),
    )


def test_a_hook_with_return_is_two_probes() -> None:
    source = of(
        kprobes=[
            {
                "call": "sk_alloc",
                "return": True,
                "returnArg": {"index": 0, "type": "sock"},
                "args": [{"index": 1, "type": "int"}],
            }
        ]
    )
    assert [(one.returns, [read.text for read in one.arguments]) for one in source.wanted] == [
        (False, ["args[1]"]),
        (True, ["returnArg: sock"]),
    ]


def test_an_override_and_what_may_be_missing() -> None:
    wanted = one(
        kprobes=[
            {
                "call": "security_file_open",
                "ignore": {"callNotFound": True},
                "selectors": [{"matchActions": [{"action": "Override", "argError": -1}]}],
            }
        ]
    )
    assert wanted.overrides
    assert wanted.optional
    other = [{"call": "f", "selectors": [{"matchActions": [{"action": "Sigkill"}]}]}]
    assert not one(kprobes=other).overrides


def test_lists() -> None:
    lists = [
        {"name": "own", "values": ["a", "b"]},
        {"name": "calls", "type": "syscalls", "values": ["sys_dup", "i386/sys_dup"]},
        {"name": "all", "type": "generated_syscalls"},
        {"name": "some", "type": "generated_ftrace", "pattern": "^ksys_*"},
    ]
    names = ["own", "calls", "all", "some"]
    source = of(lists=lists, kprobes=[{"call": f"list:{name}"} for name in names])
    assert [(one.interface, one.target, one.pattern, one.regex) for one in source.wanted] == [
        (Interface.KPROBE_PERF, "a", False, False),
        (Interface.KPROBE_PERF, "b", False, False),
        (Interface.SYSCALL, "dup", False, False),
        (Interface.KPROBE_PERF, "__ia32_sys_dup", False, False),
        (Interface.SYSCALL, "*", True, False),
        (Interface.KPROBE_PERF, "^ksys_*", True, True),
    ]


def test_the_other_sections() -> None:
    source = of(
        tracepoints=[
            {"subsystem": "sched", "event": "sched_switch", "args": [{"index": 5, "type": "int"}]},
            {"subsystem": "sched", "event": "sched_process_exec", "raw": True,
             "args": [{"index": 2, "type": "linux_binprm"}]},
        ],
        lsmhooks=[{"hook": "file_open", "args": [{"index": 0, "type": "file"}]}],
        fentries=[{"call": "vfs_read", "return": True}],
        enforcers=[{"calls": ["list:x", "sys_prctl"]}],
        lists=[{"name": "x", "type": "syscalls", "values": ["sys_dup"]}],
        uprobes=[{"path": "/bin/sh", "symbols": ["main"]}],
    )  # fmt: skip
    assert source.problems == ()
    assert [(one.interface, one.target, one.overrides) for one in source.wanted] == [
        (Interface.FENTRY, "vfs_read", False),
        (Interface.FEXIT, "vfs_read", False),
        (Interface.TRACEPOINT, "sched:sched_switch", False),
        (Interface.RAW_TRACEPOINT, "sched_process_exec", False),
        (Interface.LSM, "file_open", False),
        (Interface.SYSCALL, "dup", True),
        (Interface.SYSCALL, "prctl", True),
    ]
    (note,) = source.notes
    assert "uprobe" in note.text


def test_several_documents_a_list_and_a_namespaced_policy() -> None:
    source = read(
        HEAD + "spec: {kprobes: [{call: a}]}\n---\nkind: Pod\n---\n"
        "kind: List\nitems:\n- kind: TracingPolicyNamespaced\n  spec: {kprobes: [{call: b}]}\n"
        "---\nkind: TracingPolicy\nspec: {kprobes: [{call: c}\n---\n"
        "kind: TracingPolicy\nspec: {kprobes: [{call: d}]}\n"
    )
    assert [(one.target, one.line) for one in source.wanted] == [("a", 5), ("b", 12), ("d", 18)]
    assert [note.text for note in source.notes] == ["kind 'Pod' is no TracingPolicy"]
    (problem,) = source.problems
    assert problem.line in (15, 16)
    assert "is no YAML" in problem.text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kprobes": [{"syscall": True}]}, "has no call"),
        ({"kprobes": [{"call": "no name"}]}, "no name of a function"),
        ({"kprobes": [{"call": "list:x"}]}, "no list 'x'"),
        ({"kprobes": [{"call": "f", "args": [{"type": "int"}]}]}, "has no index"),
        ({"kprobes": [{"call": "f", "args": [{"index": 0, "resolve": "a..b"}]}]}, "no path"),
        ({"kprobes": {"call": "f"}}, "is no list"),
        ({"kprobes": ["f"]}, "has no call"),
        ({"tracepoints": [{"event": "x"}]}, "a subsystem and an event"),
        ({"lsmhooks": [{}]}, "an LSM hook has a hook"),
        (
            {"kprobes": [{"call": "list:x"}], "lists": [{"name": "x", "type": "odd"}]},
            "is of type 'odd'",
        ),
        (
            {"kprobes": [{"call": "list:x"}], "lists": [{"name": "x", "type": "generated_ftrace"}]},
            "has no pattern",
        ),
    ],
)
def test_a_fault_is_told_and_the_others_are_read(spec: dict[str, Any], words: str) -> None:
    source = of(fentries=[{"call": "good"}], **spec)
    assert [one.target for one in source.wanted] == ["good"]
    (problem,) = source.problems
    assert words in problem.text


def test_aliases_and_merge_keys_are_followed() -> None:
    source = read(
        HEAD
        + "common: &c {syscall: true}\nspec:\n  kprobes:\n  - &k {<<: *c, call: sys_dup}\n  - *k\n"
    )
    assert [(one.interface, one.target) for one in source.wanted] == [
        (Interface.SYSCALL, "dup")
    ] * 2


def _nine_times(name: str, number: int) -> str:
    return ", ".join([f"*{name}{number - 1}"] * 9)


BOMBS = {
    "aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [{_nine_times('a', n)}]\n" for n in range(1, 30))
    + "spec: {kprobes: *a29}\n",
    "merges": "m0: &m0 {x: y}\n"
    + "".join(f"m{n}: &m{n} {{<<: [{_nine_times('m', n)}]}}\n" for n in range(1, 30))
    + "spec: {kprobes: [*m29]}\n",
    "many aliases": "a: &a x\nb: [" + "*a, " * 5000 + "]\n",
    "depth": "spec: " + "[" * 5000 + "]" * 5000 + "\n",
    "unclosed": "spec: " + "{a: " * 5000 + "\n",
    "recursive": "spec: &s {kprobes: &k [*k, *s], <<: *s}\n",
    "tag": "spec: !!python/object/apply:os.system ['true']\n",
    "template": "spec: {{ .Values.spec }}\n",
    "binary": "spec: \x07\x1b[31m\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_and_the_next_document_is_read(name: str) -> None:
    source = read(
        HEAD + BOMBS[name] + "---\nkind: TracingPolicy\nspec: {kprobes: [{call: good}]}\n"
    )
    assert [one.target for one in source.wanted] == ["good"]
    assert source.problems


def test_a_policy_may_do_without_kprobe_multi() -> None:
    assert one(kprobes=[{"call": "f"}]).multi
    option = [{"name": "disable-kprobe-multi", "value": "1"}]
    assert not one(kprobes=[{"call": "f"}], options=option).multi


@pytest.mark.parametrize("multi", [True, False])
def test_functions_of_lsms_are_overridden_by_fmod_ret(multi: bool) -> None:
    """Unless kprobe.multi is in the way: validateOverride() refuses the policy then."""
    hook = {
        "call": "security_file_open",
        "selectors": [{"matchActions": [{"action": "Override", "argError": -1}]}],
    }
    options = [] if multi else [{"name": "disable-kprobe-multi", "value": "true"}]
    source = of(kprobes=[hook], options=options)
    assert [(one.interface, one.overrides) for one in source.wanted] == (
        [(Interface.KPROBE_PERF, True)]
        if multi
        else [(Interface.FMOD_RET, False), (Interface.KPROBE_PERF, False)]
    )


def test_enforcers_of_functions_of_lsms() -> None:
    source = of(enforcers=[{"calls": ["sys_openat", "security_file_open"]}])
    assert [(one.interface, one.target) for one in source.wanted] == [
        (Interface.SYSCALL, "openat"),
        (Interface.FMOD_RET, "security_file_open"),
    ]
