"""The functions behind system calls: how they are called, and whether the table has them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kprobesim.arch.architecture import ARCHITECTURES, halves
from kprobesim.compat.kernel_facts import KernelFacts

__all__ = ["SYSCALL_PREFIX", "is_dispatched", "is_wrapper", "other_spellings", "syscall_of"]

SYSCALL_PREFIX = {name: isa.syscall_prefix for name, isa in ARCHITECTURES.items()}
"""What precedes the name of a system call in that of its function (4.17; ARM64 4.19)."""

_FUNCTION = re.compile(
    r"(?:__(?:x64|ia32|arm64|s390x?|riscv)_(?:compat_)?sys_|__(?:se|do)_sys_|sys_|SyS_|ksys_)"
    r"(?P<name>[a-z0-9_]+)"
)
_WRAPPER = re.compile(r"__(?:x64|ia32|arm64|s390x?|riscv)_(?:compat_|x32_compat_)?sys_[a-z0-9_]+")
#: Not in include/uapi/asm-generic/unistd.h, which ARM64 has; 32-bit processes make them there.
_WITHOUT_NUMBER = halves(
    x86_64=frozenset[str](),
    arm64=frozenset(
        "access alarm chmod chown creat dup2 epoll_create epoll_wait eventfd fork getdents "
        "getpgrp inotify_init lchown link mkdir mknod newlstat newstat open pause pipe poll "
        "readlink rename rmdir select signalfd symlink time uselib unlink ustat utime utimes "
        "vfork".split()
    ),
)


def syscall_of(name: str) -> str | None:
    """``"openat"`` for ``sys_openat``, ``__x64_sys_openat`` and their like; else ``None``."""
    found = _FUNCTION.fullmatch(name)
    return found["name"] if found else None


def is_wrapper(name: str) -> bool:
    """Whether the function gets one pointer, to a ``struct pt_regs`` with its arguments.

    CONFIG_ARCH_HAS_SYSCALL_WRAPPER: x86 since 4.17, ARM64 since 4.19.
    """
    return _WRAPPER.fullmatch(name) is not None


def other_spellings(asked: KernelFacts, name: str) -> Iterable[str]:
    """The functions of the same system call that this kernel has, the usual one first."""
    call = syscall_of(name)
    if call is None:
        return
    prefix = SYSCALL_PREFIX[asked.kernel.arch]
    for spelling in (prefix + call, f"ksys_{call}", f"__do_sys_{call}", f"__se_sys_{call}"):
        if spelling != name and asked.functions_named(spelling):
            yield spelling


def is_dispatched(asked: KernelFacts, function: str) -> bool | None:
    """Whether the table of 64-bit system calls has the function; ``None`` without a table."""
    if not function.startswith(SYSCALL_PREFIX[asked.kernel.arch]):
        return None
    targets = {symbol.address for symbol in asked.functions_named(function)}
    table = asked.syscall_functions if targets else frozenset()
    if table:
        return not targets.isdisjoint(table)
    return False if syscall_of(function) in _WITHOUT_NUMBER[asked.kernel.arch] else None
