"""Types of maps, places to attach and helpers that a kernel, or a kind of programs, has not."""

from __future__ import annotations

import pytest
from makers.bpf_objects import compiled_object
from makers.btf_maker import BtfMaker

from kprobesim.bpf.attachment import AttachKind
from kprobesim.bpf.facts import KernelFacts
from kprobesim.bpf.features import missing_map, missing_sections
from kprobesim.bpf.helper_programs import callers_of
from kprobesim.bpf.helpers import helper_name, helper_number
from kprobesim.bpf.load import BlockerKind, would_load
from kprobesim.bpf.maps import BpfMap, read_maps
from kprobesim.bpf.operations import Operations
from kprobesim.types.btf import Btf

HASH, INODE_STORAGE, USER_RINGBUF = 1, 28, 31


@pytest.fixture(scope="module")
def kernel() -> KernelFacts:
    """One with the types and places of 5.11, and without CONFIG_BPF_LSM."""
    maker = BtfMaker()
    maker.integer("int", 4, 1)
    types = [(f"BPF_MAP_TYPE_{number}", number) for number in range(30)]
    maker.enum("bpf_map_type", [*types, ("__MAX_BPF_MAP_TYPE", 31)])
    maker.enum("bpf_attach_type", [("BPF_SK_SKB_VERDICT", 38)])
    maker.enum("bpf_prog_type", [("BPF_PROG_TYPE_LSM", 29), ("BPF_PROG_TYPE_SYSCALL", 31)])
    maker.struct("tcp_congestion_ops", 16, [("init", 1, 0), ("ssthresh", 1, 64)])
    symbols = {"array_map_ops": [1]}
    return KernelFacts(Btf(maker.data()), addresses=lambda name: symbols.get(name, []), config={})


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (HASH, None),
        (USER_RINGBUF, "BPF_MAP_TYPE_USER_RINGBUF, which this kernel has not"),
        (INODE_STORAGE, "BPF_MAP_TYPE_INODE_STORAGE, which needs CONFIG_BPF_LSM"),
        (99, "number 99, which this kernel has not"),
    ],
)
def test_types_of_maps(kernel: KernelFacts, number: int, says: str | None) -> None:
    found = missing_map(BpfMap("events", number), kernel)
    assert found is None if says is None else (found or "").endswith(says)


def test_a_kernel_that_does_not_tell_has_all_types() -> None:
    assert missing_map(BpfMap("events", USER_RINGBUF), KernelFacts(None)) is None
    assert list(missing_sections("tcx/ingress", KernelFacts(None))) == []


@pytest.mark.parametrize(
    ("section", "missing"),
    [
        ("tcx/ingress", ["BPF_TCX_INGRESS"]),
        ("syscall", []),
        ("sk_skb/verdict", []),
        ("lirc_mode2", ["CONFIG_BPF_LIRC_MODE2"]),
        ("kprobe/vfs_read", []),
    ],
)
def test_places_to_attach(kernel: KernelFacts, section: str, missing: list[str]) -> None:
    assert [name for name, _ in missing_sections(section, kernel)] == missing


@pytest.mark.parametrize(
    ("helper", "kind", "may"),
    [
        ("kallsyms_lookup_name", AttachKind.KPROBE, False),
        ("kallsyms_lookup_name", AttachKind.SYSCALL, True),
        ("d_path", AttachKind.KPROBE, False),
        ("d_path", AttachKind.FENTRY, True),
        ("skb_load_bytes", AttachKind.TRACEPOINT, False),
        ("skb_load_bytes", AttachKind.NETWORK, True),
        ("get_func_arg", AttachKind.TP_BTF, False),
        ("seq_printf", AttachKind.ITER, True),
        ("override_return", AttachKind.FENTRY, False),
        ("probe_read_kernel", AttachKind.KPROBE, True),
        ("sys_bpf", AttachKind.UNKNOWN, True),
        ("probe_read", AttachKind.STRUCT_OPS, False),
        ("probe_read", AttachKind.KPROBE, True),
        ("probe_read_kernel", AttachKind.STRUCT_OPS, True),
    ],
)
def test_helpers_of_some_programs(helper: str, kind: AttachKind, may: bool) -> None:
    assert (callers_of(helper_number(helper), kind) is None) is may


def test_helpers_have_one_number() -> None:
    assert helper_name(helper_number("override_return")) == "bpf_override_return"


OBJECT = """
#define SEC(name) __attribute__((section(name), used))
struct { int (*type)[31]; int (*max_entries)[4096]; } ring SEC(".maps");
static long (*look_up)(const char *, int, int, long *) = (void *)179;
SEC("kprobe/vfs_read") int finds(void *context) { long at; return look_up("a", 2, 0, &at); }
SEC("tcx/ingress") int passes(void *context) { return 0; }
"""


@pytest.mark.compiler
def test_what_an_object_needs(kernel: KernelFacts) -> None:
    obj = compiled_object(OBJECT)
    assert read_maps(obj.btf) == obj.maps == (BpfMap("ring", USER_RINGBUF),)
    loaded = would_load(obj, kernel)
    assert [(one.kind, one.path) for one in loaded.blockers] == [(BlockerKind.FEATURE, "ring")]
    assert [[one.path for one in each.blockers] for each in loaded.programs] == [
        ["ring", "bpf_kallsyms_lookup_name"],
        ["ring", "BPF_TCX_INGRESS"],
    ]


OPERATIONS = """
#define SEC(name) __attribute__((section(name), used))
struct tcp_congestion_ops___new { void *init; long flags; void *release; long later; };
SEC("struct_ops/own") int own(void *context) { return 0; }
SEC(".struct_ops.link") struct tcp_congestion_ops___new ops =
    { .init = own, .release = own, .later = 1 };
struct tcp_ulp_ops { void *other; };
SEC(".struct_ops") struct tcp_ulp_ops ulp = { .other = own };
"""


@pytest.mark.compiler
def test_members_of_operations_that_are_set(kernel: KernelFacts) -> None:
    obj = compiled_object(OPERATIONS)
    assert obj.operations == (
        Operations("ulp", ".struct_ops", "tcp_ulp_ops", ("other",)),
        Operations("ops", ".struct_ops.link", "tcp_congestion_ops", ("init", "release", "later")),
    )
    assert [one.path for one in would_load(obj, kernel).blockers] == [
        "tcp_congestion_ops.release",
        "tcp_congestion_ops.later",
    ]
