"""System calls by their names alone: ``SEC("ksyscall/openat")``, Tetragon's ``syscall: true``.

libbpf puts the architecture's prefix before them and makes a kprobe of it. A function with that
name is in every kernel that has the call on any architecture, so what counts is the table.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from kprobesim.compat.finding import Finding
from kprobesim.compat.instead import nearest
from kprobesim.compat.interfaces.kprobe import attach_kprobe
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.syscall_names import SYSCALL_PREFIX, is_dispatched
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Wanted

__all__ = ["attach_to_syscall"]


def attach_to_syscall(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether this kernel has the system call, and 64-bit processes can make it."""
    prefix = SYSCALL_PREFIX[asked.kernel.arch]
    if not asked.has(prefix + wanted.target):
        calls = [n.removeprefix(prefix) for n in asked.function_names.starting(prefix)]
        near = tuple(nearest(wanted.target, calls))
        text = f"this kernel has no system call {wanted.target}"
        return [Finding(Kind.ABSENT, text, errno.ENOENT, Reason.UNKNOWN_SYMBOL, instead=near)]
    findings = attach_kprobe(asked, replace(wanted, target=prefix + wanted.target))
    if is_dispatched(asked, prefix + wanted.target) is False:
        text = f"no 64-bit process can make the system call {wanted.target} on this architecture"
        findings.append(Finding(Kind.NEVER, text, found_by="code"))
    return findings
