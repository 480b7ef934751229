"""What loading an object comes to: what is reached, what guards it, externs, helpers, arguments."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from makers.bpf_objects import compiled, compiled_object

from kprobesim.bpf.arguments import argument_reads, compiled_for
from kprobesim.bpf.declared import declared
from kprobesim.bpf.facts import KernelFacts, kernel_version
from kprobesim.bpf.load import BlockerKind, LoadedObject, would_load
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.program import SourceLine
from kprobesim.types.model import Pointer, Typedef

pytestmark = pytest.mark.compiler

GONE = "struct task_struct has no member gone"


@pytest.fixture(scope="module")
def kernel() -> KernelFacts:
    """Types of tests/data/bpf/kernel.c, with wrappers round its system calls, no settings."""
    symbols = {"__x64_sys_bpf": [1], "init_task": [2]}
    return KernelFacts(
        btf=compiled_object("kernel.c").btf,
        addresses=lambda name: symbols.get(name, []),
        config={"CONFIG_BPF_KPROBE_OVERRIDE": "y"},
        version=(6, 1, 192),
    )


def _told(loaded: LoadedObject) -> dict[str, list[tuple[BlockerKind, str, bool]]]:
    return {
        one.program.name: [(each.kind, each.text, each.depends) for each in one.blockers]
        for one in loaded.programs
    }


def test_only_what_is_reached_keeps_a_program_out(kernel: KernelFacts) -> None:
    loaded = would_load(compiled_object("guards.c"), kernel)
    assert loaded.blockers == ()
    told = {name: found for name, found in _told(loaded).items() if found}
    assert told == {
        "unguarded": [(BlockerKind.TYPE, GONE, False)],
        "in_a_subprogram": [(BlockerKind.TYPE, GONE, False)],
        "by_constant": [(BlockerKind.TYPE, GONE, True)],
        "calls_kfunc": [
            (
                BlockerKind.EXTERN,
                "it calls bpf_no_such_kfunc, which this kernel has not",
                False,
            )
        ],
        "calls_helper": [
            (BlockerKind.HELPER, "it calls helper 9999, which this kernel has not", False)
        ],
    }
    guarded = {one.program.name for one in loaded.programs if one.guarded}
    assert guarded == {"by_field", "by_version", "by_weak_setting", "by_what_a_function_returns"}


def test_a_blocker_says_where_it_is(kernel: KernelFacts) -> None:
    loaded = would_load(compiled_object("guards.c"), kernel)
    (blocker,) = next(one for one in loaded.programs if one.program.name == "unguarded").blockers
    assert blocker.path == "task_struct.gone"
    assert blocker.line is not None
    assert (Path(blocker.line.file).name, blocker.line.line) == ("guards.c", 23)


def test_a_version_that_is_old_reaches_what_it_guards(kernel: KernelFacts) -> None:
    loaded = would_load(compiled_object("guards.c"), replace(kernel, version=(4, 19, 0)))
    assert [text for _, text, _ in _told(loaded)["by_version"]] == [GONE]


def test_programs_that_change_what_a_function_returns_are_told(kernel: KernelFacts) -> None:
    loaded = would_load(compiled_object("guards.c"), kernel)
    assert [one.program.name for one in loaded.programs if one.overrides] == ["overrides"]


@pytest.mark.parametrize(("config", "count"), [({}, 1), (None, 0)])
def test_override_needs_a_setting(
    kernel: KernelFacts, config: dict[str, str] | None, count: int
) -> None:
    loaded = would_load(compiled_object("guards.c"), replace(kernel, config=config))
    texts = [text for _, text, _ in _told(loaded)["overrides"]]
    assert (
        texts == ["it calls bpf_override_return, which needs CONFIG_BPF_KPROBE_OVERRIDE=y"] * count
    )


def test_arguments_are_read_by_register_or_slot() -> None:
    obj = compiled_object("guards.c")
    assert compiled_for(obj.btf) == "x86_64"
    reads = {
        one.name: [
            (read.ordinal, read.register, read.returned, read.type)
            for read in argument_reads(obj, one)
        ]
        for one in obj.programs
    }
    assert {name: found for name, found in reads.items() if found} == {
        "overrides": [(1, "si", False, None)],
        "of_registers": [
            (5, "r9", False, None),
            (2, "dx", False, "struct file"),
            (0, "di", False, None),
        ],
        "of_returned": [(None, "ax", True, None)],
        "of_syscall": [(1, "si", False, None), (0, "di", False, "struct pt_regs")],
        "of_slots": [
            (1, None, False, "struct file"),
            (2, None, False, "struct path"),
            (5, None, False, None),
        ],
    }


@pytest.mark.parametrize(
    ("line", "expected", "complete"),
    [
        ("int BPF_KPROBE(p)", [], True),
        ("int BPF_KPROBE(p, int dfd, struct filename *name)", [None, "struct filename"], True),
        ("int BPF_PROG(p, const struct path *path, char buf[8]) {", ["struct path", "char"], True),
        ("int BPF_PROG(p, struct file *file,", ["struct file"], False),
        ("int BPF_KPROBE(p, char **argv, void (*f)(int, int), long a)", [None, None, None], True),
        ("int BPF_KPROBE(another, struct file *file)", None, True),
        ("int p(struct pt_regs *ctx)", None, True),
    ],
)
def test_the_source_tells_what_a_program_takes(
    line: str, expected: list[str | None] | None, complete: bool
) -> None:
    code = compiled_object(_extern("int CONFIG_HZ __kconfig", "out = 1")).program("program")
    function = replace(code.function, name="p", lines=((0, SourceLine("a.c", 1, line)),))
    found = declared(replace(code, function=function))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert [one.points_to for one in found.parameters] == expected
        assert found.complete is complete


def test_a_kernel_with_wrappers_is_asked_for_the_registers_within(kernel: KernelFacts) -> None:
    """The way that is not gone in such a kernel is not reached, so its reads are not told."""
    obj = compiled_object("guards.c")
    program = obj.program("of_syscall")
    for wraps, expected in ((True, [0]), (False, [1])):
        addresses = kernel.addresses if wraps else lambda name: []
        loaded = would_load(obj, replace(kernel, addresses=addresses))
        (reached,) = [one.reached for one in loaded.programs if one.program is program]
        assert [one.ordinal for one in argument_reads(obj, program, None, reached)] == expected


def test_registers_are_those_of_the_architecture_that_it_was_compiled_for() -> None:
    obj = compiled_object(
        '#include "bpf.h"\nstruct user_pt_regs { u64 regs[31], sp, pc, pstate; } CORE;\nu64 out;\n'
        'SEC("kprobe/f") int entry(struct user_pt_regs *ctx) '
        "{ out = ctx->regs[2] + ctx->regs[9] + ctx->pc; return 0; }\n"
        'SEC("kretprobe/f") int back(struct user_pt_regs *ctx) { out = ctx->regs[0]; return 0; }\n'
    )
    assert compiled_for(obj.btf) == "arm64"
    reads = {
        one.name: [
            (read.ordinal, read.register, read.returned) for read in argument_reads(obj, one)
        ]
        for one in obj.programs
    }
    assert reads == {
        "entry": [(2, "x2", False), (None, "x9", False), (None, "pc", False)],
        "back": [(None, "x0", True)],
    }


def _extern(declaration: str, use: str) -> str:
    """A program with one extern and what a kernel may say of it."""
    return (
        '#include "bpf.h"\nstruct task_struct { int pid; };\n'
        f"extern {declaration};\n"
        f'u64 out; SEC("kprobe/f") int program(void *ctx) {{ {use}; return 0; }}\n'
    )


@pytest.mark.parametrize(
    ("declaration", "use", "config", "says"),
    [
        ("int CONFIG_HZ __kconfig", "out = CONFIG_HZ", {"CONFIG_HZ": "250"}, None),
        ("int CONFIG_HZ __kconfig", "out = CONFIG_HZ", {}, "CONFIG_HZ is not set"),
        ("int CONFIG_HZ __kconfig __weak", "out = CONFIG_HZ", {}, None),
        ("bool CONFIG_BPF __kconfig", "out = CONFIG_BPF", {"CONFIG_BPF": "y"}, None),
        ("bool CONFIG_BPF __kconfig", "out = CONFIG_BPF", {"CONFIG_BPF": "m"}, "does not fit"),
        ("bool CONFIG_BPF __kconfig", "out = CONFIG_BPF", {"CONFIG_BPF": "n"}, "is not set"),
        ("char CONFIG_BPF __kconfig", "out = CONFIG_BPF", {"CONFIG_BPF": "m"}, None),
        ("int CONFIG_BPF __kconfig", "out = CONFIG_BPF", {"CONFIG_BPF": "y"}, "does not fit"),
        ("u8 CONFIG_HZ __kconfig", "out = CONFIG_HZ", {"CONFIG_HZ": "1000"}, "does not fit"),
        ("char CONFIG_S[8] __kconfig", "out = CONFIG_S[0]", {"CONFIG_S": '"long text"'}, None),
        ("int CONFIG_S __kconfig", "out = CONFIG_S", {"CONFIG_S": '"text"'}, "does not fit"),
        ("int LINUX_KERNEL_VERSION __kconfig", "out = LINUX_KERNEL_VERSION", {}, None),
        ("int LINUX_NEW __kconfig", "out = LINUX_NEW", {}, "libbpf knows no setting"),
        ("int LINUX_NEW __kconfig __weak", "out = LINUX_NEW", {}, None),
        ("const void init_task __ksym", "out = (u64)&init_task", {}, None),
        ("const void no_task __ksym", "out = (u64)&no_task", {}, "has no symbol no_task"),
        ("const void no_task __ksym __weak", "out = (u64)&no_task", {}, None),
        ("int a_variable __ksym", "out = a_variable", {}, None),
        ("struct task_struct a_variable __ksym", "out = (u64)&a_variable", {}, "otherwise"),
        ("int no_variable __ksym", "out = no_variable", {}, "have no variable no_variable"),
        ("void a_kfunc(struct task_struct *, u64) __ksym", "a_kfunc(ctx, 1)", {}, None),
        ("void a_kfunc___v2(void *, u64) __ksym", "a_kfunc___v2(ctx, 1)", {}, "otherwise"),
        ("void a_kfunc(struct task_struct *) __ksym", "a_kfunc(ctx)", {}, "otherwise"),
        ("void no_kfunc(void) __ksym", "no_kfunc()", {}, "have no function no_kfunc"),
    ],
)
def test_externs_are_looked_up_as_libbpf_does(
    kernel: KernelFacts, declaration: str, use: str, config: dict[str, str], says: str | None
) -> None:
    obj = compiled_object(_extern(declaration, use))
    texts = [one.text for one in would_load(obj, replace(kernel, config=config)).blockers]
    assert (says is None) == (texts == [])
    assert all(says is not None and says in text for text in texts)


def test_a_setting_that_is_not_known_keeps_nobody_out(kernel: KernelFacts) -> None:
    obj = compiled_object(_extern("int CONFIG_HZ __kconfig", "out = CONFIG_HZ"))
    loaded = would_load(obj, replace(kernel, config=None))
    assert loaded.blockers == ()
    assert [one.found for one in loaded.externs] == [None]


def test_a_kernel_without_types_takes_only_what_needs_none() -> None:
    without = KernelFacts(btf=None)
    (blocker,) = would_load(compiled_object("core.c"), without).blockers
    assert blocker.kind is BlockerKind.NO_BTF
    plain = compiled_object('#include "bpf.h"\nSEC("kprobe/f") int p(void *ctx) { return 0; }\n')
    assert would_load(plain, without).blockers == ()


@pytest.mark.parametrize(
    ("types", "use", "says"),
    [
        ("two { int a; }", "field_info(p->a, 0)", "ambiguous"),
        ("signs { long number; }", "p->number", "one load"),
        ("signs { u32 wide; }", "p->wide", None),
        (
            "signs { struct node *letter; }",
            "p->letter != 0",
            "is char in this kernel, not a pointer",
        ),
        ("words { int inner; }", "field_info(p->inner, 0)", None),
        ("words { int many[9]; }", "field_info(p->many[8], 0)", None),
        ("words { short few[9]; }", "field_info(p->few[8], 0)", "4 elements"),
        ("words { int few[9]; }", "field_info(p->few[1], 0)", None),
        ("file { u64 pos; }", "field_info(p->pos, 0)", "no member pos; it has f_pos"),
        ("file { u32 f_flag; }", "field_info(p->f_flag, 0)", "no member f_flag; it has f_flags"),
        ("nothing { int a; }", "field_info(p->a, 0)", "no struct nothing"),
    ],
)
def test_what_a_field_became_is_told(
    kernel: KernelFacts, types: str, use: str, says: str | None
) -> None:
    obj = compiled_object(
        f'#include "bpf.h"\nstruct node;\nstruct {types} CORE;\nu64 out; SEC("fentry/f") '
        f"int program(u64 *ctx) {{ struct {types.split()[0]} *p = (void *)ctx[0]; "
        f"out = {use}; return 0; }}\n"
    )
    (program,) = would_load(obj, kernel).programs
    texts = [one.text for one in program.blockers]
    assert (says is None) == (texts == [])
    assert all(says is not None and says in text for text in texts)


def test_what_libbpf_gives_up_at_in_an_optional_program_is_its_own(kernel: KernelFacts) -> None:
    text = (
        '#include "bpf.h"\nstruct two { int a; } CORE;\n'
        'u64 out; SEC("?fentry/f") int optional(u64 *ctx) '
        "{ out = field_info(((struct two *)ctx)->a, 0); return 0; }\n"
        'SEC("fentry/f") int other(u64 *ctx) { return 0; }\n'
    )
    loaded = would_load(compiled_object(text), kernel)
    assert loaded.blockers == ()
    assert {name: len(found) for name, found in _told(loaded).items()} == {
        "optional": 1,
        "other": 0,
    }


def test_an_object_whose_types_are_defined_by_themselves_is_refused(kernel: KernelFacts) -> None:
    data = bytearray(compiled("core.c"))
    whole = compiled_object("core.c")
    assert whole.btf is not None
    start = data.find(whole.btf.data)
    types = len(whole.btf.data) - len(whole.btf.words) * 4 - whole.btf.strings_end
    for one in whole.btf:
        if isinstance(one, (Typedef, Pointer)):
            struct.pack_into("<I", data, start + types + 4 * (one.at + 2), one.number)
    loaded = would_load(BpfObject.parse(bytes(data)), kernel)
    (blocker,) = loaded.blockers
    assert blocker.kind is BlockerKind.OBJECT
    assert "is defined by itself" in blocker.text
    assert all(one.blockers == loaded.blockers for one in loaded.programs)


def test_the_version_is_the_one_that_programs_are_told() -> None:
    assert kernel_version("6.1.0-57-cloud-amd64", "#1 SMP Debian 6.1.192-3 (2026)") == (6, 1, 192)
    assert kernel_version("5.10.300") == (5, 10, 255)
    assert kernel_version("7.3-rc1") == (7, 3, 0)
