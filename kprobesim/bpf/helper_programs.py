"""Helpers that only some programs may call, as data.

The verifier asks the ``func_proto`` of each type of programs: ``tracing_prog_func_proto()`` and
``kprobe_prog_func_proto()`` of kernel/trace/bpf_trace.c, ``syscall_prog_func_proto()`` of
kernel/bpf/syscall.c, ``bpf_lsm_func_proto()`` of kernel/bpf/bpf_lsm.c (7.2). Only helpers are here
that no kernel since 5.10 lets the others call.
"""

from __future__ import annotations

from kprobesim.bpf.attachment import AttachKind
from kprobesim.bpf.helpers import helper_number

__all__ = ["PATH_OF_FILE", "callers_of"]

_TRAMPOLINES = frozenset(
    {
        AttachKind.FENTRY,
        AttachKind.FEXIT,
        AttachKind.FMOD_RET,
        AttachKind.FSESSION,
        AttachKind.FENTRY_MULTI,
        AttachKind.FEXIT_MULTI,
        AttachKind.FSESSION_MULTI,
    }
)
_KPROBES = frozenset(
    {
        AttachKind.KPROBE,
        AttachKind.KRETPROBE,
        AttachKind.KPROBE_MULTI,
        AttachKind.KRETPROBE_MULTI,
        AttachKind.KPROBE_SESSION,
        AttachKind.KSYSCALL,
        AttachKind.KRETSYSCALL,
        AttachKind.USER,
    }
)
_HOOKS = frozenset({AttachKind.LSM, AttachKind.LSM_CGROUP})
_EVENTS = frozenset(
    {
        AttachKind.TRACEPOINT,
        AttachKind.RAW_TRACEPOINT,
        AttachKind.TP_BTF,
        AttachKind.PERF_EVENT,
    }
)
_TRACING = _TRAMPOLINES | _KPROBES | _HOOKS | _EVENTS | {AttachKind.ITER}
#: Those whose helpers are known here.
_JUDGED = _TRACING | {AttachKind.SYSCALL, AttachKind.STRUCT_OPS}

PATH_OF_FILE = helper_number("d_path")
_NETWORK = (
    "skb_store_bytes skb_load_bytes skb_load_bytes_relative l3_csum_replace l4_csum_replace "
    "clone_redirect skb_vlan_push skb_vlan_pop skb_get_tunnel_key skb_set_tunnel_key redirect "
    "get_route_realm csum_diff skb_get_tunnel_opt skb_set_tunnel_opt skb_change_proto "
    "skb_change_type skb_under_cgroup get_hash_recalc skb_change_tail skb_pull_data csum_update "
    "set_hash_invalid skb_change_head xdp_adjust_head set_hash skb_adjust_room redirect_map "
    "sk_redirect_map sock_map_update xdp_adjust_meta msg_redirect_map msg_apply_bytes "
    "msg_cork_bytes msg_pull_data bind xdp_adjust_tail fib_lookup redirect_neigh redirect_peer "
    "xdp_get_buff_len xdp_load_bytes xdp_store_bytes check_mtu sk_select_reuseport"
)
_ONLY: tuple[tuple[str, frozenset[AttachKind], str], ...] = (
    (
        "sys_bpf btf_find_by_name_kind sys_close kallsyms_lookup_name",
        frozenset({AttachKind.SYSCALL}),
        'SEC("syscall")',
    ),
    ("get_func_arg get_func_ret get_func_arg_cnt", _TRAMPOLINES | _HOOKS, "fentry and its kin"),
    ("seq_printf seq_write seq_printf_btf", frozenset({AttachKind.ITER}), "iterators"),
    ("d_path", _TRAMPOLINES | _HOOKS | {AttachKind.ITER}, "fentry and its kin, and LSM hooks"),
    ("bprm_opts_set ima_inode_hash ima_file_hash", _HOOKS, "LSM hooks"),
    ("override_return", _KPROBES, "kprobes"),
    ("probe_read probe_read_str", _TRACING, "programs that trace: take bpf_probe_read_kernel"),
    (_NETWORK, frozenset({AttachKind.STRUCT_OPS}), "programs of the network"),
)
_CALLERS = {
    helper_number(name): (kinds, whose) for names, kinds, whose in _ONLY for name in names.split()
}


def callers_of(helper: int, kind: AttachKind) -> str | None:
    """Whose a helper is, if programs of that kind may not call it; ``None`` if they may."""
    kinds, whose = _CALLERS.get(helper, (_JUDGED, ""))
    return whose if kind in _JUDGED and kind not in kinds else None
