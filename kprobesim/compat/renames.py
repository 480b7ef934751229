"""Functions that people probe and that were renamed, split or made inline, with what came of them.

Only what a kernel has is ever proposed, so it does not matter here in which release it changed.
"""

from __future__ import annotations

import re

__all__ = ["RENAMES", "VARIANTS"]

RENAMES: dict[str, tuple[str, ...]] = {
    # kernel/fork.c: 5.10
    "_do_fork": ("kernel_clone",),
    "do_fork": ("kernel_clone", "_do_fork"),
    # fs/exec.c: 5.9
    "do_execve": ("do_execveat_common", "bprm_execve"),
    "do_execveat": ("do_execveat_common", "bprm_execve"),
    "__do_execve_file": ("do_execveat_common", "bprm_execve"),
    "search_binary_handler": ("bprm_execve",),
    "exec_binprm": ("bprm_execve",),
    "do_coredump": ("vfs_coredump",),  # 6.16
    # fs/open.c: 5.6
    "do_sys_open": ("do_sys_openat2",),
    # fs/namei.c: 5.x, and 6.19's filename_* and CLASS(filename)
    "do_unlinkat": ("filename_unlinkat", "vfs_unlink"),
    "do_mkdirat": ("filename_mkdirat", "vfs_mkdir"),
    "do_rmdir": ("filename_rmdir", "vfs_rmdir"),
    "do_renameat2": ("filename_renameat2", "vfs_rename"),
    "do_linkat": ("filename_linkat", "vfs_link"),
    "do_symlinkat": ("filename_symlinkat", "vfs_symlink"),
    "do_mknodat": ("filename_mknodat", "vfs_mknod"),
    # security/security.c: 6.9
    "security_bpf_map_alloc": ("security_bpf_map_create",),
    "security_bpf_prog_alloc": ("security_bpf_prog_load",),
    "security_sb_copy_data": ("security_sb_eat_lsm_opts",),
    "security_task_getsecid": ("security_task_getsecid_obj", "security_task_getlsmprop_obj"),
    "security_inode_getsecid": ("security_inode_getlsmprop",),
    "security_bprm_set_creds": ("security_bprm_creds_for_exec",),  # 5.8
    # block: 5.19, 6.5
    "blk_account_io_start": ("__blk_account_io_start", "blk_mq_start_request"),
    "blk_account_io_done": ("__blk_account_io_done", "blk_mq_end_request"),
    "blk_account_io_completion": ("blk_update_request",),
    "blk_start_request": ("blk_mq_start_request",),
    "blk_queue_bio": ("blk_mq_submit_bio",),
    "blk_mq_make_request": ("blk_mq_submit_bio",),
    "generic_make_request": ("submit_bio_noacct",),  # 5.9
    # networking: 5.17, 5.18, 6.11
    "kfree_skb": ("sk_skb_reason_drop", "kfree_skb_reason"),
    "kfree_skb_reason": ("sk_skb_reason_drop",),
    "tcp_drop": ("tcp_drop_reason", "sk_skb_reason_drop", "kfree_skb_reason"),
    "__dev_queue_xmit_nit": ("dev_queue_xmit_nit",),
    "dev_queue_xmit": ("__dev_queue_xmit",),
    "ip_local_deliver_finish": ("ip_protocol_deliver_rcu",),
    "tcp_sendpage": ("tcp_sendmsg_locked",),  # 6.5
    "udp_sendpage": ("udp_sendmsg",),
    "kernel_sendpage": ("sock_sendmsg",),
    "sock_sendmsg": ("__sock_sendmsg",),
    "sock_recvmsg": ("__sock_recvmsg",),
    "tcp_v4_send_synack": ("tcp_v4_send_synack",),
    "ip_queue_xmit": ("__ip_queue_xmit",),
    # memory: folios since 5.16, and allocation tags since 6.10
    "account_page_dirtied": ("folio_account_dirtied", "__folio_mark_dirty"),
    "mark_page_accessed": ("folio_mark_accessed",),
    "add_to_page_cache_lru": ("filemap_add_folio",),
    "set_page_dirty": ("folio_mark_dirty",),
    "__set_page_dirty": ("__folio_mark_dirty",),
    "__page_cache_alloc": ("filemap_alloc_folio_noprof", "filemap_alloc_folio"),
    "__do_page_cache_readahead": ("do_page_cache_ra", "page_cache_ra_unbounded"),
    "do_page_fault": ("exc_page_fault", "do_user_addr_fault", "do_mem_abort"),
    "__do_page_fault": ("handle_mm_fault", "do_user_addr_fault"),
    "do_swap_page": ("handle_mm_fault",),
    "try_to_unmap_one": ("try_to_unmap",),
    "__alloc_pages_nodemask": ("__alloc_pages_noprof", "__alloc_pages"),
    "__alloc_pages": ("__alloc_frozen_pages_noprof", "__alloc_pages_noprof"),
    "kmalloc_order_trace": ("__kmalloc_large_noprof", "kmalloc_large"),
    "do_munmap": ("__vm_munmap", "do_vmi_munmap"),
    # scheduler: 6.4
    "ttwu_do_wakeup": ("ttwu_do_activate",),
    "finish_task_switch": ("__schedule",),
    # namespaces, credentials, files
    "switch_task_namespaces": ("create_new_namespaces",),
    "override_creds": ("prepare_creds",),
    "fget_light": ("__fget_light", "fget"),
    "close_fd": ("file_close_fd", "filp_close"),
    "__close_fd": ("close_fd",),
    "notify_change": ("security_inode_setattr",),
    "vfs_getattr": ("security_inode_getattr",),
    "kernel_read_file_from_fd": ("security_kernel_read_file",),
    "load_module": ("do_init_module", "security_kernel_module_request"),
    "asm_sysvec_reschedule_ipi": ("sched_ttwu_pending", "scheduler_ipi"),
    "smp_reschedule_interrupt": ("sched_ttwu_pending",),
    "_copy_from_iter": ("copy_page_from_iter",),
}
"""What may stand in for a function, the nearest first."""

VARIANTS: tuple[tuple[re.Pattern[str], str], ...] = (
    # allocation tags (6.10) put this behind the real functions
    (re.compile(r"$"), "_noprof"),
    (re.compile(r"_noprof$"), ""),
    (re.compile(r"page"), "folio"),
    (re.compile(r"^(?!__)"), "__"),
    (re.compile(r"^__"), ""),
    (re.compile(r"$"), "_common"),
    (re.compile(r"^do_"), "__do_"),
    (re.compile(r"^"), "do_"),
)
"""Patterns by which names of functions changed, with what replaces each."""
