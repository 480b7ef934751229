"""What of BPF a kernel may be too old for, or built without: types of maps, places to attach.

A kernel's own enums say what it has (include/uapi/linux/bpf.h), so no version is asked for. Data of
Linux 7.2: include/linux/bpf_types.h for the settings.
"""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.bpf.facts import KernelFacts
from kprobesim.bpf.maps import BpfMap

__all__ = ["missing_map", "missing_sections"]

_MAPS = (
    "UNSPEC HASH ARRAY PROG_ARRAY PERF_EVENT_ARRAY PERCPU_HASH PERCPU_ARRAY STACK_TRACE "
    "CGROUP_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS DEVMAP SOCKMAP "
    "CPUMAP XSKMAP SOCKHASH CGROUP_STORAGE REUSEPORT_SOCKARRAY PERCPU_CGROUP_STORAGE QUEUE STACK "
    "SK_STORAGE DEVMAP_HASH STRUCT_OPS RINGBUF INODE_STORAGE TASK_STORAGE BLOOM_FILTER "
    "USER_RINGBUF CGRP_STORAGE ARENA INSN_ARRAY"
).split()
#: The kernel's operations on types that not every kernel is built with.
_OPERATIONS = {
    "XSKMAP": ("xsk_map_ops", "CONFIG_XDP_SOCKETS"),
    "INODE_STORAGE": ("inode_storage_map_ops", "CONFIG_BPF_LSM"),
    "CGRP_STORAGE": ("cgrp_storage_map_ops", "CONFIG_CGROUPS"),
    "STRUCT_OPS": ("bpf_struct_ops_map_ops", "CONFIG_BPF_JIT"),
    "ARENA": ("arena_map_ops", "a JIT compiler that knows arenas"),
}
_ANY_OPERATIONS = "array_map_ops"  # in every kernel that names its data

#: What a section needs in ``enum bpf_attach_type`` or ``enum bpf_prog_type``; others are older
#: than all kernels with BTF, or are told by the functions of the kernel.
_ENUMERATORS = {
    "syscall": "BPF_PROG_TYPE_SYSCALL",
    "netfilter": "BPF_NETFILTER",
    "tcx/ingress": "BPF_TCX_INGRESS",
    "tcx/egress": "BPF_TCX_EGRESS",
    "netkit/primary": "BPF_NETKIT_PRIMARY",
    "netkit/peer": "BPF_NETKIT_PEER",
    "sk_reuseport/migrate": "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE",
    "sk_skb/verdict": "BPF_SK_SKB_VERDICT",
    "xdp/cpumap": "BPF_XDP_CPUMAP",
    "cgroup/connect_unix": "BPF_CGROUP_UNIX_CONNECT",
    "cgroup/sendmsg_unix": "BPF_CGROUP_UNIX_SENDMSG",
    "cgroup/recvmsg_unix": "BPF_CGROUP_UNIX_RECVMSG",
    "cgroup/getpeername_unix": "BPF_CGROUP_UNIX_GETPEERNAME",
    "cgroup/getsockname_unix": "BPF_CGROUP_UNIX_GETSOCKNAME",
}
_ENUMS = ("bpf_attach_type", "bpf_prog_type")
_SETTINGS = {
    "netfilter": "CONFIG_NETFILTER_BPF_LINK",
    "lirc_mode2": "CONFIG_BPF_LIRC_MODE2",
    "sk_lookup": "CONFIG_INET",
}


def missing_map(one: BpfMap, kernel: KernelFacts) -> str | None:
    """Why the kernel cannot make the map; ``None`` if it can, or does not tell."""
    known = 0 < one.type < len(_MAPS)
    name = f"BPF_MAP_TYPE_{_MAPS[one.type]}" if known else f"number {one.type}"
    numbers = set(kernel.enumerators("bpf_map_type").values())
    if numbers and one.type not in numbers:
        return f"the map {one.name} is of the type {name}, which this kernel has not"
    operations = _OPERATIONS.get(_MAPS[one.type]) if known else None
    if operations is not None and kernel.addresses(_ANY_OPERATIONS):
        symbol, need = operations
        if not kernel.addresses(symbol):
            return f"the map {one.name} is of the type {name}, which needs {need}"
    return None


def missing_sections(section: str, kernel: KernelFacts) -> Iterator[tuple[str, str]]:
    """Why the kernel takes no programs of a section, each with what is missing."""
    need = _ENUMERATORS.get(section)
    has = {name for enum in _ENUMS for name in kernel.enumerators(enum)}
    if need is not None and has and need not in has:
        yield need, f'this kernel takes no programs of SEC("{section}"): it has no {need}'
        return
    setting = _SETTINGS.get(section)
    if setting is not None and kernel.is_set(setting) is False:
        yield setting, f'this kernel takes no programs of SEC("{section}"): it has no {setting}=y'
