"""What a section's name makes of its programs, as libbpf reads it."""

from __future__ import annotations

import re

import pytest

from kprobesim.bpf.attachment import AttachKind as K
from kprobesim.bpf.attachment import Attachment
from kprobesim.bpf.section_names import attachment


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("kprobe/vfs_read", Attachment(K.KPROBE, "vfs_read")),
        ("kprobe/vfs_read+0x1a", Attachment(K.KPROBE, "vfs_read", offset=0x1A)),
        ("kprobe/vfs_read+010", Attachment(K.KPROBE, "vfs_read", offset=8)),
        ("kprobe/ttwu_do_wakeup.isra.20", Attachment(K.KPROBE, "ttwu_do_wakeup.isra.20")),
        ("kprobe", Attachment(K.KPROBE)),
        ("kretprobe/vfs_read", Attachment(K.KRETPROBE, "vfs_read")),
        ("kprobe.multi/vfs_*", Attachment(K.KPROBE_MULTI, "vfs_*", pattern=True)),
        ("kprobe.multi", Attachment(K.KPROBE_MULTI)),
        ("kretprobe.multi/vfs_read", Attachment(K.KRETPROBE_MULTI, "vfs_read")),
        ("kprobe.session/tcp_?", Attachment(K.KPROBE_SESSION, "tcp_?", pattern=True)),
        ("ksyscall/openat", Attachment(K.KSYSCALL, "openat")),
        ("kretsyscall/openat", Attachment(K.KRETSYSCALL, "openat")),
        (
            "tp/sched/sched_switch",
            Attachment(K.TRACEPOINT, "sched_switch", category="sched"),
        ),
        (
            "tracepoint/syscalls/sys_enter_openat",
            Attachment(K.TRACEPOINT, "sys_enter_openat", category="syscalls"),
        ),
        ("raw_tp/sched_switch", Attachment(K.RAW_TRACEPOINT, "sched_switch")),
        ("raw_tracepoint.w/sys_enter", Attachment(K.RAW_TRACEPOINT, "sys_enter")),
        ("tp_btf/sched_switch", Attachment(K.TP_BTF, "sched_switch")),
        ("fentry/vfs_read", Attachment(K.FENTRY, "vfs_read")),
        ("fentry.s/vfs_read", Attachment(K.FENTRY, "vfs_read", sleepable=True)),
        ("fexit/btrfs:btrfs_sync_file", Attachment(K.FEXIT, "btrfs_sync_file", module="btrfs")),
        ("fentry/vmlinux:vfs_read", Attachment(K.FENTRY, "vfs_read")),
        ("fmod_ret/security_file_open", Attachment(K.FMOD_RET, "security_file_open")),
        ("fentry.multi/tcp_*", Attachment(K.FENTRY_MULTI, "tcp_*", pattern=True)),
        ("lsm/file_open", Attachment(K.LSM, "file_open")),
        ("lsm.s/bprm_committed_creds", Attachment(K.LSM, "bprm_committed_creds", sleepable=True)),
        ("lsm_cgroup/socket_bind", Attachment(K.LSM_CGROUP, "socket_bind")),
        ("iter/task", Attachment(K.ITER, "task")),
        ("iter.s/task_vma", Attachment(K.ITER, "task_vma", sleepable=True)),
        ("struct_ops/init", Attachment(K.STRUCT_OPS, "init")),
        ("freplace/name", Attachment(K.FREPLACE, "name")),
        ("syscall", Attachment(K.SYSCALL, sleepable=True)),
        ("uprobe//usr/bin/bash:readline", Attachment(K.USER, "/usr/bin/bash:readline")),
        ("usdt/libc:x:y", Attachment(K.USER, "libc:x:y")),
        ("xdp.frags/devmap", Attachment(K.NETWORK)),
        ("cgroup_skb/egress", Attachment(K.NETWORK)),
        ("tc", Attachment(K.NETWORK)),
        ("perf_event", Attachment(K.PERF_EVENT)),
    ],
)
def test_a_section_says_what_its_programs_attach_to(section: str, expected: Attachment) -> None:
    assert attachment(section) == expected


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("kprobe/nf_tables:nft_do_chain", "takes 'nf_tables' for the function"),
        ("kprobe/vfs_read-4", "reads only 'vfs_read'"),
        ("kprobe/vfs_read+-4", "negative"),
        ("kretprobe/vfs_read+4", "no offset"),
        ("kprobe/*", "no name of a function"),
        ("kprobe.multi/{a,b}", "no pattern"),
        ("tp/sched_switch", "tp/category/name"),
        ("fentry/", "no .*NAME"),
        ("raw_tp/", "no name behind"),
        ("tc/foo", "no such section"),
        ("kprobes/vfs_read", "no such section"),
        ("xdp_prog", "no such section"),
    ],
)
def test_what_libbpf_would_not_attach_is_told(section: str, says: str) -> None:
    problem = attachment(section).problem
    assert problem is not None

    assert re.search(says, problem)


def test_what_is_found_by_btf_has_its_name_there() -> None:
    assert attachment("tp_btf/sched_switch").btf_name == "btf_trace_sched_switch"
    assert attachment("lsm/file_open").btf_name == "bpf_lsm_file_open"
    assert attachment("iter/task").btf_name == "bpf_iter_task"
    assert attachment("fexit/vfs_read").btf_name == "vfs_read"
    assert attachment("kprobe/vfs_read").btf_name is None
