"""Who accesses some bytes of the RAM: Unicorn's memory hooks, for the time that somebody asks.

Such a hook is bounded by physical addresses, so no mapping escapes it, and the pc and the value are
exact. But while there is one each store of the guest's takes the slow path: a boot takes three
times as long.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable

import unicorn

from kprobesim.machine.unicorn.engine import Engine

__all__ = ["MemoryHooks"]

_MEMORY = ctypes.CFUNCTYPE(
    None, ctypes.c_uint8, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64
)
_WRITE = unicorn.UC_MEM_WRITE
_WIDEST = 16  # bytes of an access


class MemoryHooks:
    """The hooks on a few ranges of physical memory, until :meth:`end`."""

    def __init__(
        self,
        engine: Engine,
        pieces: Iterable[tuple[int, int]],
        accessed: Callable[[bool, int, int, int], object],
        *,
        reads: bool,
        writes: bool,
    ) -> None:
        """Call ``accessed(writes, physical, size, value)`` before each access.

        Args:
            engine: The engine; it may run.
            pieces: (Physical address, length) of each range.
            accessed: May read memory and registers. What it raises ends the run.
            reads: Whether reads are told, with 0 for the value.
            writes: Whether writes are.
        """
        keep, ranges = engine.hooks.keep, list(pieces)

        def hooked(_uc: int, kind: int, address: int, size: int, value: int) -> None:
            try:
                if not any(address < start + n and start < address + size for start, n in ranges):
                    return
                accessed(kind == _WRITE, address, size, value & ((1 << 8 * size) - 1))
            except BaseException as error:  # nothing may leave a C callback
                keep(error)

        kinds = unicorn.UC_HOOK_MEM_READ * reads | unicorn.UC_HOOK_MEM_WRITE * writes
        self._engine = engine
        thunk = _MEMORY(hooked)
        self._handles = [
            # Unicorn looks at where an access begins.
            engine.hooks.add(kinds, thunk, (max(start - _WIDEST + 1, 0), start + length - 1))
            for start, length in ranges
        ]
        self._translate_anew()

    def end(self) -> None:
        """Tell no more; nothing happens if that was done already."""
        for handle in self._handles:
            self._engine.hooks.unhook(handle)
        if self._handles:
            self._handles = []
            self._translate_anew()

    def _translate_anew(self) -> None:
        """Code that was translated without a hook does not know of it."""
        self._engine.forget_all_code()
        self._engine.flush_tlb()
