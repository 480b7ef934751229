"""Functions that people probe and that newer kernels do not have: what Linux made of them.

Only what a kernel has is ever proposed, so it does not matter here in which release it changed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kprobesim.compat.kinds import Kind

__all__ = ["ALONE", "EVENTS", "HISTORY", "RESPELT", "VARIANTS", "Spelling", "Step"]


Spelling = tuple[re.Pattern[str], str]


class Step(NamedTuple):
    """What became of a function: its new names, or functions that see the same calls."""

    kind: Kind
    names: tuple[str, ...]


def _renamed(*names: str) -> Step:
    return Step(Kind.RENAMED, names)


def _inlined(*names: str) -> Step:
    """It became ``static inline``, or static with one caller: ``names`` are its callers."""
    return Step(Kind.INLINED, names)


def _removed(*names: str) -> Step:
    return Step(Kind.ABSENT, names)


_SKB = ("sk_skb_reason_drop", "kfree_skb_reason")
_EXEC = ("bprm_execve", "security_bprm_check")
_BIO_DONE = ("__blk_mq_end_request", "blk_mq_end_request", "blk_mq_end_request_batch")
_BIO = ("blk_mq_submit_bio", "blk_mq_start_request")

HISTORY: dict[str, tuple[Step, ...]] = {
    # kernel/fork.c, kernel/signal.c
    "__send_signal": (_renamed("__send_signal_locked"),),
    "do_fork": (_renamed("kernel_clone", "_do_fork"),),
    "_do_fork": (_renamed("kernel_clone"),),
    "send_signal": (_renamed("send_signal_locked"),),
    "do_signal": (_renamed("arch_do_signal_or_restart"),),
    # kernel/printk/, kernel/softirq.c, kernel/irq/
    "printk": (_renamed("_printk"),),
    "__do_softirq": (_renamed("handle_softirqs"),),
    "handle_irq_event_percpu": (_renamed("__handle_irq_event_percpu"),),
    "do_IRQ": (_renamed("common_interrupt", "__common_interrupt"),),
    "rcu_process_callbacks": (_renamed("rcu_core"),),
    # fs/exec.c, fs/coredump.c
    "do_execve": (_inlined("do_execveat_common", "bprm_execve"),),
    "do_execveat": (_inlined("do_execveat_common", "bprm_execve"),),
    "do_execveat_common": (_inlined(*_EXEC),),
    "__do_execve_file": (_renamed("do_execveat_common"), _removed(*_EXEC)),
    "search_binary_handler": (_inlined(*_EXEC),),
    "exec_binprm": (_inlined(*_EXEC),),
    "do_coredump": (_renamed("vfs_coredump"),),
    # kernel/module/main.c, kernel/exit.c
    "layout_and_allocate": (_inlined("load_module"),),
    "exit_mm": (_inlined("do_exit"),),
    # fs/open.c, fs/file.c, fs/namei.c
    "do_sys_open": (_renamed("do_sys_openat2"),),
    "do_filp_open": (_renamed("do_file_open"),),
    "user_path_at_empty": (_renamed("user_path_at"),),
    "do_umount": (_inlined("path_umount"),),
    "__close_fd": (_renamed("close_fd"),),
    "utimes_common": (_renamed("vfs_utimes"),),
    "do_mount": (_renamed("path_mount"),),
    "ksys_mount": (_renamed("path_mount"),),
    "ksys_umount": (_renamed("path_umount"),),
    "lookup_slow": (_renamed("__lookup_slow"),),
    "do_iter_read": (_removed("vfs_iter_read", "vfs_readv"),),
    "do_iter_write": (_removed("vfs_iter_write", "vfs_writev"),),
    "generic_file_splice_read": (_renamed("filemap_splice_read", "copy_splice_read"),),
    "vfs_stat_set_lookup_flags": (_inlined("vfs_statx"),),
    "debugfs_create_file": (_renamed("debugfs_create_file_full"),),
    "__vfs_read": (_inlined("vfs_read"),),
    "__vfs_write": (_inlined("vfs_write"),),
    "do_unlinkat": (_renamed("filename_unlinkat"), _inlined("vfs_unlink")),
    "do_mkdirat": (_renamed("filename_mkdirat"), _inlined("vfs_mkdir")),
    "do_rmdir": (_renamed("filename_rmdir"), _inlined("vfs_rmdir")),
    "do_renameat2": (_renamed("filename_renameat2"), _inlined("vfs_rename")),
    "do_linkat": (_renamed("filename_linkat"), _inlined("vfs_link")),
    "do_symlinkat": (_renamed("filename_symlinkat"), _inlined("vfs_symlink")),
    "do_mknodat": (_renamed("filename_mknodat"), _inlined("vfs_mknod")),
    # security/security.c
    "security_bpf_map_alloc": (_renamed("security_bpf_map_create"),),
    "security_bpf_prog_alloc": (_renamed("security_bpf_prog_load"),),
    "security_sb_copy_data": (_removed("security_sb_eat_lsm_opts"),),
    "security_bprm_set_creds": (_renamed("security_bprm_creds_for_exec"),),
    "security_task_getsecid": (
        _renamed("security_task_getsecid_obj", "security_task_getlsmprop_obj"),
    ),
    "security_task_getsecid_obj": (_renamed("security_task_getlsmprop_obj"),),
    "security_inode_getsecid": (_renamed("security_inode_getlsmprop"),),
    "security_cred_getsecid": (_renamed("security_cred_getlsmprop"),),
    # block/
    "blk_account_io_start": (_renamed("__blk_account_io_start"), _inlined(*_BIO)),
    "blk_account_io_done": (_renamed("__blk_account_io_done"), _inlined(*_BIO_DONE)),
    "__blk_account_io_start": (_renamed("blk_account_io_start"), _inlined(*_BIO)),
    "__blk_account_io_done": (_renamed("blk_account_io_done"), _inlined(*_BIO_DONE)),
    "blk_account_io_completion": (_inlined("blk_update_request"),),
    "blk_account_io_merge_bio": (_inlined("bio_attempt_back_merge"),),
    "blk_start_request": (_renamed("blk_mq_start_request"),),
    "blk_queue_bio": (_removed("blk_mq_submit_bio"),),
    "blk_mq_make_request": (_renamed("blk_mq_submit_bio"),),
    "generic_make_request": (_renamed("submit_bio_noacct"),),
    "submit_bio_checks": (_inlined("submit_bio_noacct"),),
    "blk_mq_sched_insert_request": (_renamed("blk_mq_insert_request"),),
    "blk_mq_sched_insert_requests": (_removed("blk_mq_dispatch_list", "blk_mq_flush_plug_list"),),
    # net/
    "napi_gro_receive": (_renamed("gro_receive_skb"),),
    "__sys_accept4_file": (_inlined("__sys_accept4", "do_accept"),),
    "nf_nat_l4proto_unique_tuple": (_inlined("nf_nat_setup_info"),),
    "kfree_skb": (_inlined(*_SKB),),
    "kfree_skb_reason": (_renamed("sk_skb_reason_drop"),),
    "tcp_drop": (_renamed("tcp_drop_reason"), _inlined(*_SKB, "__kfree_skb")),
    "tcp_drop_reason": (_inlined(*_SKB),),
    "dev_queue_xmit": (_inlined("__dev_queue_xmit"),),
    "tcp_sendpage": (_removed("tcp_sendmsg"),),
    "udp_sendpage": (_removed("udp_sendmsg"),),
    "kernel_sendpage": (_removed("sock_sendmsg"),),
    "tcp_rcv_space_adjust": (_inlined("tcp_recvmsg_locked", "tcp_recvmsg"),),
    "sock_sendmsg": (_renamed("__sock_sendmsg"),),
    "inet_sendpage": (_removed("inet_sendmsg"),),
    "netif_receive_skb_internal": (_inlined("netif_receive_skb", "netif_receive_skb_list"),),
    "tcp_transmit_skb": (_inlined("__tcp_transmit_skb"),),
    "kfree_skb_list": (_inlined("kfree_skb_list_reason"),),
    # mm/
    "generic_file_buffered_read": (_renamed("filemap_read"),),
    "__add_to_page_cache_locked": (_renamed("__filemap_add_folio"),),
    "add_to_page_cache_locked": (_renamed("filemap_add_folio"),),
    "delete_from_page_cache": (_renamed("filemap_remove_folio"),),
    "grab_cache_page_write_begin": (_renamed("__filemap_get_folio"),),
    "pagecache_get_page": (_renamed("__filemap_get_folio"),),
    "__set_page_dirty_nobuffers": (_renamed("filemap_dirty_folio"),),
    "shrink_page_list": (_renamed("shrink_folio_list"),),
    "mpage_readpages": (_renamed("mpage_readahead"),),
    "ext4_readpage": (_renamed("ext4_read_folio"),),
    "ext4_readpages": (_renamed("ext4_readahead"),),
    "mem_cgroup_charge": (_renamed("__mem_cgroup_charge"),),
    "mem_cgroup_try_charge": (_renamed("mem_cgroup_charge", "__mem_cgroup_charge"),),
    "try_charge": (_renamed("try_charge_memcg"),),
    "kmem_cache_alloc_trace": (_renamed("kmalloc_trace", "__kmalloc_cache_noprof"),),
    "kmalloc_trace": (_renamed("__kmalloc_cache_noprof"),),
    "alloc_pages_current": (_renamed("alloc_pages", "alloc_pages_noprof"),),
    "alloc_pages_vma": (_renamed("vma_alloc_folio", "vma_alloc_folio_noprof"),),
    "do_anonymous_page": (_inlined("handle_mm_fault", "__handle_mm_fault"),),
    "__do_munmap": (_renamed("do_vmi_munmap", "do_vmi_align_munmap"),),
    "account_page_dirtied": (_renamed("folio_account_dirtied"), _inlined("__folio_mark_dirty")),
    "folio_account_dirtied": (_inlined("__folio_mark_dirty"),),
    "add_to_page_cache_lru": (_renamed("filemap_add_folio"),),
    "swap_readpage": (_renamed("swap_read_folio"),),
    "mark_page_accessed": (_renamed("folio_mark_accessed"),),
    "set_page_dirty": (_renamed("folio_mark_dirty"),),
    "lru_cache_add": (_renamed("folio_add_lru"),),
    "end_page_writeback": (_renamed("folio_end_writeback"),),
    "unlock_page": (_renamed("folio_unlock"),),
    "__page_cache_alloc": (_renamed("filemap_alloc_folio", "filemap_alloc_folio_noprof"),),
    "__do_page_cache_readahead": (_renamed("do_page_cache_ra", "page_cache_ra_unbounded"),),
    "do_page_cache_ra": (_inlined("page_cache_ra_unbounded"),),
    "do_page_fault": (_renamed("exc_page_fault", "do_mem_abort"), _removed("handle_mm_fault")),
    "__do_page_fault": (_removed("handle_mm_fault"),),
    "do_swap_page": (_inlined("handle_mm_fault"),),
    "__alloc_pages_nodemask": (_renamed("__alloc_pages", "__alloc_pages_noprof"),),
    "do_munmap": (_removed("do_vmi_munmap", "__vm_munmap"),),
    # kernel/sched/
    "load_balance": (_renamed("sched_balance_rq"),),
    "run_rebalance_domains": (_renamed("sched_balance_softirq"),),
    "rebalance_domains": (_renamed("sched_balance_domains"),),
    "newidle_balance": (_renamed("sched_balance_newidle"),),
    "find_busiest_group": (_renamed("sched_balance_find_src_group"),),
    "find_busiest_queue": (_renamed("sched_balance_find_src_rq"),),
    "trigger_load_balance": (_renamed("sched_balance_trigger"),),
    "scheduler_tick": (_renamed("sched_tick"),),
    "ttwu_do_wakeup": (_inlined("ttwu_do_activate", "try_to_wake_up"),),
    "ttwu_do_activate": (_inlined("try_to_wake_up"),),
    # arch/x86/kernel/, arch/arm64/kernel/
    "smp_apic_timer_interrupt": (_renamed("sysvec_apic_timer_interrupt"),),
    "el0_svc_handler": (_renamed("do_el0_svc"), _inlined("el0_svc")),
    "smp_reschedule_interrupt": (_renamed("sysvec_reschedule_ipi", "__sysvec_reschedule_ipi"),),
    # kernel/bpf/
    "bpf_probe_read": (_renamed("bpf_probe_read_kernel", "bpf_probe_read_compat"),),
    # kernel/cred.c, kernel/nsproxy.c
    "override_creds": (_inlined("prepare_creds"),),
    "revert_creds": (_inlined("__put_cred"),),
}
"""By name, its steps in time: the first of which a kernel has anything is meant."""


def _events(group: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{group}:{name}" for name in names)


_EXECUTED = _events("sched", "sched_process_exec")
_CALLED = _events("raw_syscalls", "sys_enter")
_DROPPED = _events("skb", "kfree_skb")
_STARTED = _events("block", "block_io_start", "block_rq_issue")
_COMPLETED = _events("block", "block_io_done", "block_rq_complete")
_DIRTIED = _events("writeback", "writeback_dirty_folio", "writeback_dirty_page")

EVENTS: dict[str, tuple[str, ...]] = {
    "do_execve": _EXECUTED,
    "do_execveat": _EXECUTED,
    "do_execveat_common": _EXECUTED,
    "__do_execve_file": _EXECUTED,
    "search_binary_handler": _EXECUTED,
    "exec_binprm": _EXECUTED,
    "do_fork": _events("sched", "sched_process_fork"),
    "_do_fork": _events("sched", "sched_process_fork"),
    "exit_mm": _events("sched", "sched_process_exit"),
    "finish_task_switch": _events("sched", "sched_switch"),
    "ttwu_do_wakeup": _events("sched", "sched_wakeup"),
    "ttwu_do_activate": _events("sched", "sched_wakeup"),
    "do_syscall_64": _CALLED,
    "do_el0_svc": _CALLED,
    "el0_svc_handler": _CALLED,
    "el0_svc_common": _CALLED,
    "invoke_syscall": _CALLED,
    "do_exit": _events("sched", "sched_process_exit"),
    "try_to_wake_up": _events("sched", "sched_waking"),
    "wake_up_new_task": _events("sched", "sched_wakeup_new"),
    "__schedule": _events("sched", "sched_switch"),
    "__do_softirq": _events("irq", "softirq_entry"),
    "handle_softirqs": _events("irq", "softirq_entry"),
    "handle_irq_event_percpu": _events("irq", "irq_handler_entry"),
    "__handle_irq_event_percpu": _events("irq", "irq_handler_entry"),
    "do_IRQ": _events("irq", "irq_handler_entry"),
    "common_interrupt": _events("irq", "irq_handler_entry"),
    "smp_apic_timer_interrupt": _events("irq_vectors", "local_timer_entry"),
    "sysvec_apic_timer_interrupt": _events("irq_vectors", "local_timer_entry"),
    "send_signal": _events("signal", "signal_generate"),
    "__send_signal": _events("signal", "signal_generate"),
    "do_signal": _events("signal", "signal_deliver"),
    "get_signal": _events("signal", "signal_deliver"),
    "load_module": _events("module", "module_load"),
    "do_init_module": _events("module", "module_load"),
    "do_filp_open": _events("syscalls", "sys_enter_openat"),
    "do_sys_openat2": _events("syscalls", "sys_enter_openat"),
    "do_sys_open": _events("syscalls", "sys_enter_openat"),
    "__close_fd": _events("syscalls", "sys_enter_close"),
    "do_unlinkat": _events("syscalls", "sys_enter_unlinkat"),
    "do_mkdirat": _events("syscalls", "sys_enter_mkdirat"),
    "do_renameat2": _events("syscalls", "sys_enter_renameat2"),
    "do_linkat": _events("syscalls", "sys_enter_linkat"),
    "do_symlinkat": _events("syscalls", "sys_enter_symlinkat"),
    "blk_account_io_start": _STARTED,
    "__blk_account_io_start": _STARTED,
    "blk_account_io_done": _COMPLETED,
    "__blk_account_io_done": _COMPLETED,
    "kfree_skb": _DROPPED,
    "kfree_skb_reason": _DROPPED,
    "tcp_drop": _DROPPED,
    "tcp_drop_reason": _DROPPED,
    "blk_mq_sched_insert_request": _events("block", "block_rq_insert"),
    "blk_mq_start_request": _events("block", "block_rq_issue"),
    "blk_mq_end_request": _events("block", "block_rq_complete"),
    "__netif_receive_skb_core": _events("net", "netif_receive_skb"),
    "netif_receive_skb_internal": _events("net", "netif_receive_skb"),
    "dev_hard_start_xmit": _events("net", "net_dev_start_xmit"),
    "inet_csk_accept": _events("sock", "inet_sock_set_state"),
    "tcp_v4_connect": _events("sock", "inet_sock_set_state"),
    "tcp_rcv_space_adjust": _events("tcp", "tcp_rcv_space_adjust"),
    "tcp_set_state": _events("sock", "inet_sock_set_state"),
    "tcp_retransmit_skb": _events("tcp", "tcp_retransmit_skb"),
    "dev_queue_xmit": _events("net", "net_dev_queue"),
    "account_page_dirtied": _DIRTIED,
    "folio_account_dirtied": _DIRTIED,
    "add_to_page_cache_lru": _events("filemap", "mm_filemap_add_to_page_cache"),
    "kmem_cache_alloc": _events("kmem", "kmem_cache_alloc"),
    "__kmalloc": _events("kmem", "kmalloc"),
    "try_to_free_pages": _events("vmscan", "mm_vmscan_direct_reclaim_begin"),
    "balance_pgdat": _events("vmscan", "mm_vmscan_kswapd_wake"),
    "oom_kill_process": _events("oom", "mark_victim"),
    "__alloc_pages_nodemask": _events("kmem", "mm_page_alloc"),
    "do_page_fault": _events("exceptions", "page_fault_user"),
    "__do_page_fault": _events("exceptions", "page_fault_user"),
    "smp_reschedule_interrupt": _events("irq_vectors", "reschedule_entry"),
}
"""Events that tell the same as a function that is often gone, the nearest first."""

ALONE = {
    "sock_recvmsg": "security_socket_recvmsg",
    "sock_sendmsg": "security_socket_sendmsg",
    "vfs_getattr": "security_inode_getattr",
}
"""What in C only this function, or one that it calls, calls: whoever else does holds a copy."""

RESPELT: tuple[Spelling, ...] = (
    (re.compile(r"$"), "_noprof"),  # allocation tags (6.10)
    (re.compile(r"_noprof$"), ""),
    (re.compile(r"page"), "folio"),  # 5.16
    (re.compile(r"folio"), "page"),
)
"""How whole families of functions were renamed: patterns, and what replaces each."""

VARIANTS: tuple[Spelling, ...] = (
    (re.compile(r"^(?!__)"), "__"),
    (re.compile(r"^__"), ""),
    (re.compile(r"$"), "_common"),
    (re.compile(r"$"), "_noprof"),
    (re.compile(r"^"), "do_"),
)
"""How functions and what they call are named after each other."""
