"""The names of sections that libbpf knows, as data: ``section_defs`` of its libbpf.c, 1.7 and 1.8.

A ``+`` at the end of a name allows ``name/target``; without it the name is all there is.
"""

from __future__ import annotations

from kprobesim.bpf.attachment import AttachKind

__all__ = ["SECTIONS"]

#: Of those with a target, in libbpf's order: the first that fits is it.
_WITH_TARGET = {
    AttachKind.KPROBE: "kprobe+",
    AttachKind.KRETPROBE: "kretprobe+",
    AttachKind.KPROBE_MULTI: "kprobe.multi+",
    AttachKind.KRETPROBE_MULTI: "kretprobe.multi+",
    AttachKind.KPROBE_SESSION: "kprobe.session+",
    AttachKind.KSYSCALL: "ksyscall+",
    AttachKind.KRETSYSCALL: "kretsyscall+",
    AttachKind.TRACEPOINT: "tracepoint+ tp+ tracepoint.s+ tp.s+",
    AttachKind.RAW_TRACEPOINT: (
        "raw_tracepoint+ raw_tp+ raw_tracepoint.s+ raw_tp.s+ raw_tracepoint.w+ raw_tp.w+"
    ),
    AttachKind.TP_BTF: "tp_btf+ tp_btf.s+",
    AttachKind.FENTRY: "fentry+ fentry.s+",
    AttachKind.FEXIT: "fexit+ fexit.s+",
    AttachKind.FMOD_RET: "fmod_ret+ fmod_ret.s+",
    AttachKind.FSESSION: "fsession+ fsession.s+",
    AttachKind.FENTRY_MULTI: "fentry.multi+ fentry.multi.s+",
    AttachKind.FEXIT_MULTI: "fexit.multi+ fexit.multi.s+",
    AttachKind.FSESSION_MULTI: "fsession.multi+ fsession.multi.s+",
    AttachKind.LSM: "lsm+ lsm.s+",
    AttachKind.LSM_CGROUP: "lsm_cgroup+",
    AttachKind.ITER: "iter+ iter.s+",
    AttachKind.FREPLACE: "freplace+",
    AttachKind.STRUCT_OPS: "struct_ops+ struct_ops.s+",
    AttachKind.SYSCALL: "syscall",
    AttachKind.PERF_EVENT: "perf_event",
    AttachKind.USER: (
        "uprobe+ uprobe.s+ uretprobe+ uretprobe.s+ uprobe.multi+ uretprobe.multi+ uprobe.session+ "
        "uprobe.multi.s+ uretprobe.multi.s+ uprobe.session.s+ usdt+ usdt.s+"
    ),
    AttachKind.NETWORK: (
        "socket sk_reuseport/migrate sk_reuseport tc/ingress tc/egress tcx/ingress tcx/egress tc "
        "classifier action netkit/primary netkit/peer xdp.frags/devmap xdp/devmap xdp.frags/cpumap "
        "xdp/cpumap xdp.frags xdp lwt_in lwt_out lwt_xmit lwt_seg6local sockops "
        "sk_skb/stream_parser sk_skb/stream_verdict sk_skb/verdict sk_skb sk_msg lirc_mode2 "
        "flow_dissector cgroup_skb/ingress cgroup_skb/egress cgroup/skb cgroup/sock_create "
        "cgroup/sock_release cgroup/sock cgroup/post_bind4 cgroup/post_bind6 cgroup/bind4 "
        "cgroup/bind6 cgroup/connect4 cgroup/connect6 cgroup/connect_unix cgroup/sendmsg4 "
        "cgroup/sendmsg6 cgroup/sendmsg_unix cgroup/recvmsg4 cgroup/recvmsg6 cgroup/recvmsg_unix "
        "cgroup/getpeername4 cgroup/getpeername6 cgroup/getpeername_unix cgroup/getsockname4 "
        "cgroup/getsockname6 cgroup/getsockname_unix cgroup/sysctl cgroup/getsockopt "
        "cgroup/setsockopt cgroup/dev sk_lookup netfilter"
    ),
}

#: Name without ``+`` -> by what it attaches, and whether ``/target`` may follow.
SECTIONS: dict[str, tuple[AttachKind, bool]] = {
    name.rstrip("+"): (kind, name.endswith("+"))
    for kind, names in _WITH_TARGET.items()
    for name in names.split()
}
