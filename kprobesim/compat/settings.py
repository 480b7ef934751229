"""Which setting of a kernel's configuration the functions of a name come from."""

from __future__ import annotations

from kprobesim.compat.kernel_facts import KernelFacts

__all__ = ["LOCKED_DOWN", "missing_setting"]

#: Kprobes by tracefs and perf, and helpers that read memory, are refused then (lockdown.c, 5.4).
LOCKED_DOWN = "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"
#: What functions begin with, the longer first where one begins with the other.
_BY_PREFIX = {
    "acct_": "CONFIG_BSD_PROCESS_ACCT",
    "bpf_lsm_": "CONFIG_BPF_LSM",
    "br_": "CONFIG_BRIDGE",
    "btrfs_": "CONFIG_BTRFS_FS",
    "binder_": "CONFIG_ANDROID_BINDER_IPC",
    "dm_": "CONFIG_BLK_DEV_DM",
    "do_init_module": "CONFIG_MODULES",
    "drm_": "CONFIG_DRM",
    "ext4_": "CONFIG_EXT4_FS",
    "f2fs_": "CONFIG_F2FS_FS",
    "fuse_": "CONFIG_FUSE_FS",
    "inet6_": "CONFIG_IPV6",
    "input_": "CONFIG_INPUT",
    "io_uring_": "CONFIG_IO_URING",
    "ip6_": "CONFIG_IPV6",
    "ipv6_": "CONFIG_IPV6",
    "kvm_": "CONFIG_KVM",
    "load_module": "CONFIG_MODULES",
    "md_": "CONFIG_BLK_DEV_MD",
    "mem_cgroup_": "CONFIG_MEMCG",
    "mptcp_": "CONFIG_MPTCP",
    "nf_": "CONFIG_NETFILTER",
    "nfs_": "CONFIG_NFS_FS",
    "nfsd_": "CONFIG_NFSD",
    "nft_": "CONFIG_NF_TABLES",
    "nvme_": "CONFIG_BLK_DEV_NVME",
    "ovl_": "CONFIG_OVERLAY_FS",
    "psi_": "CONFIG_PSI",
    "scsi_": "CONFIG_SCSI",
    "security_path_": "CONFIG_SECURITY_PATH",
    "security_": "CONFIG_SECURITY",
    "tcp_v6_": "CONFIG_IPV6",
    "tun_": "CONFIG_TUN",
    "udpv6_": "CONFIG_IPV6",
    "usb_": "CONFIG_USB",
    "xfs_": "CONFIG_XFS_FS",
    "xfrm_": "CONFIG_XFRM",
}


def missing_setting(asked: KernelFacts, name: str) -> str | None:
    """The setting that a function comes with, if the kernel was built without it."""
    config = asked.known.config
    if not config:
        return None
    for prefix, setting in _BY_PREFIX.items():
        if name.lstrip("_").startswith(prefix):
            return setting if config.get(setting, "n") == "n" else None
    return None
