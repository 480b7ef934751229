"""``SyscallNames``: the kernel's names of system calls, by number.

kernel/trace/trace_syscalls.c (``get_syscall_name()``, ``find_syscall_meta()``): the name is that of
the function in ``sys_call_table`` without what its architecture puts before it.
"""

from __future__ import annotations

from functools import cached_property

from kprobesim.arch.architecture import architecture
from kprobesim.image import KernelImage
from kprobesim.inside.syscall_table import syscall_table

__all__ = ["SyscallNames"]

_KNOWS = "get_syscall_name"  # is there with CONFIG_FTRACE_SYSCALLS
_NONE = "ni_syscall"


class SyscallNames:
    """The system calls of one kernel."""

    def __init__(self, image: KernelImage) -> None:
        self._image = image

    def __call__(self, number: int) -> str | None:
        """``sys_read`` and the like; ``None``: there is none of that number, or no names."""
        addresses = self._addresses
        if number >= len(addresses):
            return None
        found = self._image.symbols.at(addresses[number])
        prefix = architecture(self._image.arch).syscall_prefix
        if found is None or found.offset or not found.symbol.name.startswith(prefix):
            return None
        name = found.symbol.name.removeprefix(prefix)
        return None if name == _NONE else f"sys_{name}"

    @cached_property
    def _addresses(self) -> tuple[int, ...]:
        """The functions of the table; none in a kernel that names no system calls."""
        return syscall_table(self._image) if self._image.symbols.get(_KNOWS) is not None else ()
