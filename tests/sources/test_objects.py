"""Compiled objects and C source: how each section of a program is a probe."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from makers.bpf_objects import compiled

from kprobesim.sources.read import read_source, read_sources, read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind

pytestmark = pytest.mark.compiler

SECTIONS: list[tuple[str, Interface, str, dict[str, object]]] = [
    ("kprobe/vfs_read+0x10", Interface.KPROBE_PERF, "vfs_read", {"offset": 16}),
    ("kretprobe/vfs_read", Interface.KPROBE_PERF, "vfs_read", {"returns": True}),
    ("kprobe.multi/vfs_*", Interface.KPROBE_MULTI, "vfs_*", {"pattern": True}),
    ("kretprobe.multi/vfs_read", Interface.KPROBE_MULTI, "vfs_read", {"returns": True}),
    ("kprobe.session/vfs_read", Interface.KPROBE_SESSION, "vfs_read", {}),
    ("ksyscall/openat", Interface.SYSCALL, "openat", {}),
    ("kretsyscall/openat", Interface.SYSCALL, "openat", {"returns": True}),
    ("?fentry/ext4:ext4_sync_file", Interface.FENTRY, "ext4_sync_file",
     {"module": "ext4", "optional": True}),
    ("fexit.s/vfs_read", Interface.FEXIT, "vfs_read", {"returns": True, "sleepable": True}),
    ("fmod_ret/security_file_open", Interface.FMOD_RET, "security_file_open", {}),
    ("tp/sched/sched_switch", Interface.TRACEPOINT, "sched:sched_switch", {}),
    ("raw_tp/sched_switch", Interface.RAW_TRACEPOINT, "sched_switch", {}),
    ("tp_btf/sched_switch", Interface.TP_BTF, "sched_switch", {}),
    ("lsm.s/file_open", Interface.LSM, "file_open", {"sleepable": True}),
    ("lsm_cgroup/socket_bind", Interface.LSM_CGROUP, "socket_bind", {}),
    ("iter/task", Interface.ITER, "task", {}),
]  # fmt: skip
PASSED = [
    "kprobe",
    "fentry/dummy_read",
    "uprobe//bin/sh:main",
    "xdp",
    "perf_event",
    "syscall",
    "freplace/f",
    "own/x",
]
WRONG = ["kretprobe/vfs_read+4", "kprobe/ext4:f", "tp/sched"]
FUNCTION = 'SEC("{}") int f{}(void *ctx) {{ return 0; }}\n'
CODE = '#include "bpf.h"\n' + "".join(
    FUNCTION.format(section, number)
    for number, section in enumerate([*(row[0] for row in SECTIONS), *PASSED, *WRONG])
)


@pytest.fixture(scope="module", params=["object", "source"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = (
        tmp_path_factory.mktemp("objects") / f"tool.bpf.{'o' if request.param == 'object' else 'c'}"
    )
    if request.param == "object":
        path.write_bytes(compiled(CODE))
    else:
        path.write_text(CODE)
    return read_source(path)


def test_each_section_is_a_probe(source: Source) -> None:
    found = {one.text: one for one in source.wanted if one.interface is not Interface.LOAD}
    assert len(found) == len(SECTIONS)
    for section, interface, target, more in SECTIONS:
        one = found[f'SEC("{section}")']
        assert (one.interface, one.target) == (interface, target)
        expected: dict[str, object] = {"offset": 0, "module": None}
        expected |= dict.fromkeys(("returns", "optional", "pattern", "sleepable"), False)
        for name, value in (expected | more).items():
            assert getattr(one, name) == value, (section, name)


def test_programs_that_attach_to_nothing_of_the_kernel_are_only_loaded(source: Source) -> None:
    """A source has no code to load, an object has."""
    found = [one.text for one in source.wanted if one.interface is Interface.LOAD]
    assert found == ([f'SEC("{each}")' for each in PASSED] if source.object is not None else [])


def test_other_sections_are_noted_and_wrong_ones_are_told(source: Source) -> None:
    for section in PASSED:
        assert any(note.text.startswith(f'SEC("{section}")') for note in source.notes), section
    assert len(source.notes) == len(PASSED)
    assert {problem.text.partition(": ")[0] for problem in source.problems} == {
        f'SEC("{section}")' for section in WRONG
    }


def test_an_object_is_kept_with_its_programs(tmp_path: Path) -> None:
    path = tmp_path / "tool.bpf.o"
    path.write_bytes(
        compiled(
            '#include "bpf.h"\n'
            "static long (*override)(void *, u64) = (void *)58;\n"
            "static __noinline int inner(void *ctx) { return override(ctx, -1); }\n"
            'SEC("kprobe/a") int one(void *ctx) { return inner(ctx); }\n'
            'SEC("kprobe/b") int two(void *ctx) { return 0; }\n'
        )
    )
    source = read_source(path)
    assert source.kind is SourceKind.BPF_OBJECT
    assert source.object is not None
    assert [(one.program, one.target, one.overrides, one.line) for one in source.wanted] == [
        ("one", "a", True, None),
        ("two", "b", False, None),
    ]


def test_structs_of_operations(tmp_path: Path) -> None:
    path = tmp_path / "ops.bpf.o"
    path.write_bytes(
        compiled(
            '#include "bpf.h"\nstruct tcp_congestion_ops___own { void *ssthresh; };\n'
            'SEC("struct_ops/own") u64 own(void *sk) { return 2; }\n'
            'SEC(".struct_ops.link") struct tcp_congestion_ops___own ops = { .ssthresh = own };\n'
        )
    )
    assert [(wanted.interface, wanted.target) for wanted in read_source(path).wanted] == [
        (Interface.LOAD, "own"),
        (Interface.STRUCT_OPS, "tcp_congestion_ops"),
    ]


@pytest.mark.parametrize("cut", [64, 500, 0.5, 0.9])
def test_a_damaged_object_has_one_clear_line_and_the_others_are_read(
    cut: float, tmp_path: Path
) -> None:
    whole = compiled(CODE)
    size = int(cut * len(whole)) if cut < 1 else int(cut)
    (tmp_path / "bad.o").write_bytes(whole[:size])
    (tmp_path / "good.o").write_bytes(whole)
    bad, good = read_sources([tmp_path])
    assert len(good.wanted) == len(SECTIONS) + len(PASSED)
    (problem,) = bad.problems
    assert problem.text
    assert bad.wanted == ()


def test_an_executable_that_carries_objects_is_several_sources(tmp_path: Path) -> None:
    other = compiled('#include "bpf.h"\nSEC("kprobe/other") int f(void *ctx) { return 0; }\n')
    header = b"\x7fELF\x02\x01\x01" + bytes(57)
    path = tmp_path / "tool"
    path.write_bytes(header + compiled(CODE) + bytes(64) + other)
    first, second = read_sources([path])
    assert len(first.wanted) == len(SECTIONS) + len(PASSED)
    assert [one.target for one in second.wanted] == ["other"]
    assert str(second.path).startswith(f"{path} (object at 0x")


def test_another_machines_file_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 0, 0,
                                                           64, 0, 0, 0, 0, 0)  # fmt: skip
    path.write_bytes(header)
    (problem,) = read_source(path).problems
    assert "eBPF" in problem.text


MODULE = """\
/* .symbol_name = "no" */
static struct kprobe kp = {
    .symbol_name = "kernel_clone",
    .offset = 0x10,
};
static struct kretprobe rp = {
    .kp.symbol_name = "vfs_read",
    .maxactive = 20,
};
static struct kprobe other = { .symbol_name = "vfs_write" };
"""


def test_a_modules_source() -> None:
    source = read_text(MODULE, Path("module.c"))
    assert source.kind is SourceKind.C_SOURCE
    assert [(one.target, one.offset, one.returns, one.line) for one in source.wanted] == [
        ("kernel_clone", 16, False, 3),
        ("vfs_read", 0, True, 7),
        ("vfs_write", 0, False, 10),
    ]
    assert {one.interface for one in source.wanted} == {Interface.REGISTER_KPROBE}


def test_maps_and_licences_are_no_programs() -> None:
    text = 'char L[] SEC("license") = "GPL";\nstruct {} m SEC(".maps");\nSEC("kprobe/f") int f;\n'
    source = read_text(text, Path("x.bpf.c"))
    assert [one.target for one in source.wanted] == ["f"]
    assert source.notes == ()
