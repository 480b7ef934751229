"""What a source wants of a kernel: probe points, by which interface, and what is read there.

All readers of this room answer with these classes, so that who judges a probe needs not know
where it was written.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from kprobesim.bpf.object import BpfObject
from kprobesim.hexrepr import HexRepr
from kprobesim.sources.versions import Versions

__all__ = ["Interface", "Problem", "Source", "SourceKind", "Wanted", "WantedArgument"]


class Interface(enum.Enum):
    """By what a probe is attached; each has rules of its own. The values are stable."""

    REGISTER_KPROBE = "register_kprobe"  # a module's register_kprobe() and register_kretprobe()
    KPROBE_EVENTS = "kprobe_events"  # tracefs's kprobe_events; what `perf probe` writes there
    FPROBE_EVENTS = "fprobe_events"  # `f:` in dynamic_events
    TPROBE_EVENTS = "tprobe_events"  # `t:` in dynamic_events: a raw tracepoint with arguments
    KPROBE_PERF = "kprobe_perf"  # perf_event_open() of the PMU "kprobe": BPF's SEC("kprobe/..")
    KPROBE_MULTI = "kprobe_multi"
    KPROBE_SESSION = "kprobe_session"
    SYSCALL = "ksyscall"  # SEC("ksyscall/..") and Tetragon's `syscall: true`: target is "openat"
    FTRACE = "ftrace"  # set_ftrace_filter
    FENTRY = "fentry"
    FEXIT = "fexit"
    FSESSION = "fsession"
    FMOD_RET = "fmod_ret"
    TRACEPOINT = "tracepoint"  # an event of tracefs: target is "sched:sched_switch"
    RAW_TRACEPOINT = "raw_tracepoint"  # target is "sched_switch"
    TP_BTF = "tp_btf"  # target is "sched_switch"
    LSM = "lsm"  # target is the hook: "file_open"
    LSM_CGROUP = "lsm_cgroup"
    ITER = "iter"  # target is what is walked: "task"
    STRUCT_OPS = "struct_ops"  # target is the struct: "tcp_congestion_ops", or its member
    FREPLACE = "freplace"
    LOAD = "load"  # a BPF program that names nothing of the kernel to attach to: target is its name

    def __str__(self) -> str:
        return self.value


class SourceKind(enum.Enum):
    """What a source is. The value is stable: it is in JSON."""

    BPF_OBJECT = "bpf-object"
    BPFTRACE = "bpftrace"
    TETRAGON = "tetragon"
    KPROBE_EVENTS = "kprobe-events"
    PERF_PROBE = "perf-probe"
    C_SOURCE = "c-source"
    BCC = "bcc"
    NAMES = "names"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class WantedArgument:
    """One value that a probe reads; it comes from at most one of ``ordinal`` to ``returned``.

    Attributes:
        text: As it was written: ``((struct file *)arg0)->f_path.dentry``, ``%di:u64``.
        ordinal: The function's argument by its place, from 0.
        register: A register by its name in the source's interface, without ``%``: ``di``, ``x0``.
        name: The argument (of a function or tracepoint), or the field (of an event), by its name.
        symbol: A symbol of the kernel's, function or variable, that is read: ``@jiffies``.
        returned: It is the function's return value; with an ``ordinal`` its macro looks for it
            behind that many arguments.
        type: The C type that the source says it has, without the pointer's star of the access to
            ``members``: ``struct file``; ``None`` if it says none, and the declared one counts.
        members: The path of members that is read from there: ``("f_path", "dentry")``.
    """

    text: str
    ordinal: int | None = None
    register: str | None = None
    name: str | None = None
    symbol: str | None = None
    returned: bool = False
    type: str | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Wanted(HexRepr):
    """One probe that somebody wants.

    Attributes:
        text: As the user wrote it: ``kprobe:vfs_read+4``, ``SEC("kprobe/do_unlinkat")``.
        source: The file that it stands in (``-`` is standard input).
        line: The line in that file, from 1; ``None`` in a compiled object.
        interface: By what it is attached.
        target: The function, tracepoint (``sched:sched_switch``), LSM hook, or the system call
            without any prefix; empty for a probe by ``address``.
        offset: Bytes from the start of the function.
        address: An absolute address instead of ``target``.
        module: The module that is named with it.
        returns: It is a return probe.
        optional: It may be missing: ``?`` sections, Tetragon's ``ignore``.
        pattern: ``target`` (and ``module``) may hold ``*``, ``?`` and ``[...]``, as in a shell.
        regex: The pattern is a regular expression instead, found anywhere in a name.
        arguments: What is read there.
        overrides: It changes the function's return value, for which the function must be on the
            list of error injection.
        sleepable: A program that may sleep (``fentry.s``): few functions take one.
        needs_btf: Its loader looks the function up in BTF, and refuses what is not there, though a
            kprobe needs none: Tetragon does.
        multi: Its loader attaches by kprobe.multi where the kernel has that, and through perf
            elsewhere: Tetragon does.
        program: The program in the object, or the event, or the policy that it belongs to.
        source_place: A place in the C source (``file.c:120``, ``;return*``, ``func:7``) that only
            DWARF can find; ``None`` usually.
        file: The C file that is to tell apart functions of one name (``func@file.c``).
        alternatives: The targets that stand in one list with it (``kprobe:a, kprobe:b { }``):
            people often write all names that a function ever had, and one of them is enough.
        definition: The line of ``kprobe_events`` that it is, for each kernel's own grammar.
        versions: The kernels that its source is compiled for; ``None`` if it is for all.
    """

    text: str
    source: str
    line: int | None
    interface: Interface
    target: str
    offset: int = 0
    address: int | None = None
    module: str | None = None
    returns: bool = False
    optional: bool = False
    pattern: bool = False
    regex: bool = False
    arguments: tuple[WantedArgument, ...] = ()
    overrides: bool = False
    sleepable: bool = False
    needs_btf: bool = False
    multi: bool = False
    program: str | None = None
    source_place: str | None = None
    file: str | None = None
    alternatives: tuple[str, ...] = ()
    definition: str | None = None
    versions: Versions | None = None

    @property
    def but_for_line(self) -> tuple[object, ...]:
        """All that it is, but for its line: a list has some probes more than once."""
        found: tuple[object, ...] = _BUT_FOR_LINE(self)
        return found


_BUT_FOR_LINE = attrgetter(*(each.name for each in fields(Wanted) if each.name != "line"))


@dataclass(frozen=True)
class Problem:
    """One thing in a source that could not be read; the others are answered all the same.

    Attributes:
        line: From 1; ``None`` if it is about the whole.
        text: What is wrong, and what to do.
        column: From 1, where it is known.
    """

    line: int | None
    text: str
    column: int | None = None


@dataclass(frozen=True)
class Source:
    """One source, read.

    Attributes:
        path: The file, or ``-``.
        kind: What it is.
        wanted: The probes in it, in order.
        problems: What could not be read: a user should mend it.
        notes: What was passed over on purpose, as there is no kernel function in it: ``BEGIN``,
            uprobes, timers.
        object: The compiled object, for what only it can tell: relocations, externs.
    """

    path: Path
    kind: SourceKind
    wanted: tuple[Wanted, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    object: BpfObject | None = None
