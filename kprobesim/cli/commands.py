"""The commands, and what each is for: ``kprobesim --help`` imports none of them to say so."""

from __future__ import annotations

__all__ = ["COMMANDS"]

#: Each is a file beside this one, imported when it is asked for.
COMMANDS: dict[str, str] = {
    "demo": "show the life of a few probes",
    "info": "show what a kernel image is and holds",
    "call": "call a function of a kernel, with probes on the way",
    "why": "tell which branch made a function return what it returned",
    "race": "make calls on several CPUs at once, in each order that can matter",
    "trace": "trace calls, boots and shells by kprobe events, as tracefs prints them",
    "disasm": "disassemble a function of a kernel",
    "check": "tell which probes the kernel would accept, and why not",
    "catalog": "make catalogues of kernels, and query them",
    "compat": "tell which probes attach and hit on many kernels, and what to probe instead",
    "types": "print structs and prototypes of a kernel, with offsets",
    "diff": "tell what a newer kernel changes for probes: functions, arguments, structs",
    "boot": "boot an unmodified kernel to user space, with probes from its first instruction",
    "resume": "go on from a snapshot of a booted kernel",
    "bench": "measure what a probe costs, beside other ways",
    "fetch": "fetch Debian's newest cloud kernels and a BusyBox",
}
