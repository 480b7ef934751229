"""``SyscallNames``: the kernel's names of system calls, by number.

kernel/trace/trace_syscalls.c (``get_syscall_name()``, ``find_syscall_meta()``): the name is that of
the function in ``sys_call_table`` without what its architecture puts before it.
"""

from __future__ import annotations

from functools import cached_property

from kprobesim.arch.architecture import architecture
from kprobesim.image import KernelImage

__all__ = ["SyscallNames"]

_TABLE = "sys_call_table"
_KNOWS = "get_syscall_name"  # is there with CONFIG_FTRACE_SYSCALLS
_MOST = 640  # more than any architecture has
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
        symbols = self._image.symbols
        table = symbols.get(_TABLE)
        if table is None or symbols.get(_KNOWS) is None:
            return ()
        whole = symbols.at(table.address)
        size = 0 if whole is None or whole.size is None else min(whole.size & -8, 8 * _MOST)
        return tuple(memoryview(self._image.read(table.address, size)).cast("Q"))
