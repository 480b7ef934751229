"""A copy of all registers of one engine: Unicorn's context, and the registers' bytes in it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.library import function_address
from kprobesim.machine.unicorn.raw_cpu import RawContext

__all__ = ["Context"]


class Context:
    """A copy of all registers of one engine, reusable.

    Attributes:
        save: Copies all registers into it (0.25 us).
        restore: Sets all registers from it (0.25 us).
        saving: The C function that saves, and its arguments.
        restoring: The same for restoring.
    """

    __slots__ = ("_address", "_context", "restore", "restoring", "save", "saving")

    def __init__(self, lib: ctypes.CDLL, handle: int, context: RawContext) -> None:
        """Be the copy in ``context``, which the engine ``handle`` of ``lib`` has made."""
        self._context = context
        self._address = context.address
        arguments = ctypes.c_void_p(handle), ctypes.c_void_p(self._address)
        self.save: Callable[[], object] = partial(lib["uc_context_save"], *arguments)
        self.restore: Callable[[], object] = partial(lib["uc_context_restore"], *arguments)
        self.saving = function_address(lib["uc_context_save"]), (handle, self._address)
        self.restoring = function_address(lib["uc_context_restore"]), (handle, self._address)

    def _place(self) -> tuple[int, int]:
        """Address and size of the registers, which are the end of the context.

        ``struct uc_context`` (uc_priv.h, 2.1) starts with their size; pointers of this process
        follow, and then the registers.
        """
        whole = self._context.size
        size = ctypes.c_uint64.from_address(self._address).value
        if not 0 < size < whole <= size + 64:
            raise EngineError("Unicorn's context is not as expected; is this a new version of it?")
        return self._address + whole - size, size

    @property
    def registers_address(self) -> int:
        """Where :attr:`registers` are."""
        return self._place()[0]

    def word(self, offset: int) -> ctypes.c_uint64:
        """The word that many bytes from the start of :attr:`registers`, live."""
        return ctypes.c_uint64.from_address(self._place()[0] + offset)

    @property
    def registers(self) -> bytes:
        """All registers, without anything that only this process understands."""
        return ctypes.string_at(*self._place())

    @registers.setter
    def registers(self, registers: bytes) -> None:
        address, size = self._place()
        if len(registers) != size:
            raise EngineError(f"{len(registers)} bytes of registers: this Unicorn has {size}")
        ctypes.memmove(address, registers, size)
