"""Variables that only the code of functions names, where a kernel has no CONFIG_KALLSYMS_ALL.

Each with functions whose code makes its address: all of those that a kernel has, and no other
address that could be meant. So it is on ARM64, 5.10 and 6.1, and all of them are where the debug
information of 6.1 says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.inside.code_addresses import handed_on
from kprobesim.machine.memory import HostAccess

__all__ = ["told_address"]

_BYTES = 256  # of a function's code
_IS_IDR = 4  # ROOT_IS_IDR, include/linux/radix-tree.h
_FLAGS_AT = 4  # struct xarray: behind its lock

_Check = Callable[[HostAccess, int], bool]


def _any(memory: HostAccess, address: int) -> bool:
    return True


def _is_list(memory: HostAccess, address: int) -> bool:
    """Whether ``struct list_head`` is there: what it leads to leads back."""
    following, _ = struct.unpack("<2Q", memory.read(address, 16))
    return memory.read_u64(following + 8) == address


def _is_idr(memory: HostAccess, address: int) -> bool:
    flags = memory.read_u32(address + _FLAGS_AT)
    return bool(flags & _IS_IDR) and flags >> 20 != 0


def _is_block_class(memory: HostAccess, address: int) -> bool:
    """Whether ``struct class`` is there that begins with a pointer to its name."""
    return memory.read(memory.read_u64(address), 6) == b"block\0"


class _Told(NamedTuple):
    functions: tuple[str, ...]
    check: _Check = _any


_TOLD: Mapping[str, _Told] = {
    "saved_command_line": _Told(("cmdline_proc_show", "do_sysctl_args")),
    "tainted_mask": _Told(("get_taint", "test_taint", "add_taint")),
    "tk_core": _Told(("ktime_get", "ktime_get_raw", "ktime_get_coarse_real_ts64")),
    "init_time_ns": _Told(("common_nsleep_timens", "timens_commit")),
    "root_task_group": _Told(("sched_autogroup_create_attach", "cpu_cgroup_css_alloc")),
    "slab_caches": _Told(("slab_next", "slab_memory_callback", "slab_start"), _is_list),
    "super_blocks": _Told(("iterate_supers", "user_get_super"), _is_list),
    "blockdev_superblock": _Told(("inode_to_bdi", "bdev_alloc", "sync_bdevs")),
    "net_namespace_list": _Told(
        ("selinux_notify_policy_change", "unregister_pernet_operations"), _is_list
    ),
    "pci_root_buses": _Told(("pci_find_next_bus", "pci_find_bus"), _is_list),
    "sysfs_root_kn": _Told(("sysfs_create_link", "sysfs_remove_link", "sysfs_create_dir_ns")),
    "class_kset": _Told(("class_compat_register", "__class_register")),
    "bus_kset": _Told(("bus_register", "buses_init")),
    "block_class": _Told(
        ("printk_all_partitions", "disk_seqf_start", "blk_lookup_devt"), _is_block_class
    ),
    "prog_idr": _Told(("bpf_prog_get_curr_or_next", "bpf_prog_free_id"), _is_idr),
    "map_idr": _Told(("bpf_map_get_curr_or_next", "bpf_map_free_id"), _is_idr),
    "btf_idr": _Told(("btf_get_fd_by_id", "btf_alloc_id"), _is_idr),
}


def told_address(name: str, image: KernelImage, memory: HostAccess) -> int | None:
    """Where the variable ``name`` is by the code of ``image``, as linked; ``None``: not told."""
    told = _TOLD.get(name)
    if told is None:
        return None
    made = [
        set(handed_on(image, function, _BYTES))
        for function in told.functions
        if image.symbols.candidates(function)
    ]
    common = set.intersection(*made) if made else set()
    found = [each for each in common if _holds(told.check, memory, each)]
    return found[0] if len(found) == 1 else None


def _holds(check: _Check, memory: HostAccess, address: int) -> bool:
    try:
        return check(memory, address)
    except GuestMemoryError:
        return False
