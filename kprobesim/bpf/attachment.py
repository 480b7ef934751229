"""What a program of an object attaches to, as its section's name says."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["AttachKind", "Attachment"]


class AttachKind(enum.Enum):
    """By what a program is attached. The value is what libbpf writes in front of the target."""

    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"
    KPROBE_MULTI = "kprobe.multi"
    KRETPROBE_MULTI = "kretprobe.multi"
    KPROBE_SESSION = "kprobe.session"
    KSYSCALL = "ksyscall"
    KRETSYSCALL = "kretsyscall"
    TRACEPOINT = "tracepoint"
    RAW_TRACEPOINT = "raw_tracepoint"
    TP_BTF = "tp_btf"
    FENTRY = "fentry"
    FEXIT = "fexit"
    FMOD_RET = "fmod_ret"
    FSESSION = "fsession"
    FENTRY_MULTI = "fentry.multi"
    FEXIT_MULTI = "fexit.multi"
    FSESSION_MULTI = "fsession.multi"
    LSM = "lsm"
    LSM_CGROUP = "lsm_cgroup"
    ITER = "iter"
    FREPLACE = "freplace"
    STRUCT_OPS = "struct_ops"
    #: A program that is run by a system call, and attaches to nothing.
    SYSCALL = "syscall"
    PERF_EVENT = "perf_event"
    #: Of a process, not of the kernel: uprobes and USDT.
    USER = "uprobe"
    #: Of a network device, a socket or a control group.
    NETWORK = "network"
    #: A section that libbpf does not know; loaders of their own have such.
    UNKNOWN = "unknown"

    @property
    def needs_btf_id(self) -> bool:
        """Whether its target is named by a number of the kernel's BTF, not by a symbol."""
        return self in _BY_BTF_ID

    @property
    def returns(self) -> bool:
        """Whether it runs when the function returns."""
        return self in _RETURNS


_BY_BTF_ID = frozenset(
    {
        AttachKind.TP_BTF,
        AttachKind.FENTRY,
        AttachKind.FEXIT,
        AttachKind.FMOD_RET,
        AttachKind.FSESSION,
        AttachKind.FENTRY_MULTI,
        AttachKind.FEXIT_MULTI,
        AttachKind.FSESSION_MULTI,
        AttachKind.LSM,
        AttachKind.LSM_CGROUP,
        AttachKind.ITER,
    }
)
_RETURNS = frozenset(
    {
        AttachKind.KRETPROBE,
        AttachKind.KRETPROBE_MULTI,
        AttachKind.KRETSYSCALL,
        AttachKind.FEXIT,
        AttachKind.FEXIT_MULTI,
    }
)
#: What libbpf writes before a target's name to find it in BTF: btf_get_kernel_prefix_kind().
_BTF_PREFIX = {
    AttachKind.TP_BTF: "btf_trace_",
    AttachKind.LSM: "bpf_lsm_",
    AttachKind.LSM_CGROUP: "bpf_lsm_",
    AttachKind.ITER: "bpf_iter_",
}


@dataclass(frozen=True)
class Attachment:
    """One target of one program.

    ``target`` is a function, hook, system call or tracepoint, a glob if ``pattern``; ``None`` if
    the loader names it at run time. ``category`` is a tracepoint's (``sched`` of
    ``sched/sched_switch``). ``problem`` says why libbpf would not attach it like this.
    """

    kind: AttachKind
    target: str | None = None
    category: str | None = None
    module: str | None = None
    offset: int = 0
    pattern: bool = False
    sleepable: bool = False
    problem: str | None = None

    @property
    def btf_name(self) -> str | None:
        """The name that its target has in the kernel's BTF, if that is how it is found."""
        if self.target is None or not self.kind.needs_btf_id:
            return None
        return _BTF_PREFIX.get(self.kind, "") + self.target

    @property
    def text(self) -> str:
        """The target as people write it, e.g. ``nf_tables:nft_do_chain+4``."""
        if self.target is None:
            return "attached at run time"
        owner = self.category or self.module
        return (
            (f"{owner}:" if owner else "")
            + self.target
            + (f"+{self.offset:#x}" if self.offset else "")
        )
