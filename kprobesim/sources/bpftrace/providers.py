"""bpftrace's kinds of probes, their short and former names: docs/language.md, 0.17 to 0.25."""

from __future__ import annotations

from kprobesim.sources.wanted import Interface

__all__ = ["ALIASES", "KERNEL", "PASSED", "RETURNS"]

#: Those that name something of the kernel's.
KERNEL = {
    "kprobe": Interface.KPROBE_PERF,
    "kretprobe": Interface.KPROBE_PERF,
    "fentry": Interface.FENTRY,
    "fexit": Interface.FEXIT,
    "tracepoint": Interface.TRACEPOINT,
    "rawtracepoint": Interface.RAW_TRACEPOINT,
    "iter": Interface.ITER,
}

RETURNS = frozenset({"kretprobe", "fexit"})

#: Those in which there is no function of the kernel's, and what to say of them.
PASSED = {
    "begin": "bpftrace's own",
    "end": "bpftrace's own",
    "self": "bpftrace's own",
    "test": "bpftrace's own",
    "bench": "bpftrace's own",
    "uprobe": "in a program, not in the kernel",
    "uretprobe": "in a program, not in the kernel",
    "usdt": "in a program, not in the kernel",
    "profile": "a timer",
    "interval": "a timer",
    "software": "a counter of perf's",
    "hardware": "a counter of the processor's",
    "watchpoint": "at an address in memory",
    "asyncwatchpoint": "at an address in memory",
}

ALIASES = {
    "k": "kprobe",
    "kr": "kretprobe",
    "f": "fentry",
    "kfunc": "fentry",
    "fr": "fexit",
    "kretfunc": "fexit",
    "t": "tracepoint",
    "rt": "rawtracepoint",
    "it": "iter",
    "u": "uprobe",
    "ur": "uretprobe",
    "U": "usdt",
    "p": "profile",
    "i": "interval",
    "s": "software",
    "h": "hardware",
    "w": "watchpoint",
    "aw": "asyncwatchpoint",
    "BEGIN": "begin",
    "END": "end",
}
