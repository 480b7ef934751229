"""What Unicorn calls back for: traps, device memory, ports, instructions. The engine's other half.

Callbacks get plain integers and must not raise: nothing may leave a C callback. Whoever hooks keeps
an exception and stops the engine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import unicorn
from unicorn import arm64_const, x86_const

from kprobesim.machine.unicorn.stop_points import BlockExits

__all__ = ["Hooks"]

_ptr = ctypes.c_void_p
_u32, _u64, _int = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int

_INTERRUPT = ctypes.CFUNCTYPE(None, _ptr, _u32, _ptr)
_INVALID = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _ptr)
_CODE = ctypes.CFUNCTYPE(None, _ptr, _u64, _u32, _ptr)
_NEW_BLOCK = ctypes.CFUNCTYPE(None, _ptr, _ptr, _ptr, _ptr)
_CPUID = ctypes.CFUNCTYPE(_int, _ptr, _ptr)
_SYSCALL = ctypes.CFUNCTYPE(None, _ptr, _ptr)
_PORT_IN = ctypes.CFUNCTYPE(_u32, _ptr, _u32, _int, _ptr)
_PORT_OUT = ctypes.CFUNCTYPE(None, _ptr, _u32, _int, _u32, _ptr)
_SYSTEM = ctypes.CFUNCTYPE(_u32, _ptr, _int, _ptr, _ptr)
_UNMAPPED = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _int, _u64, _int, ctypes.c_int64, _ptr)
_MMIO_READ = ctypes.CFUNCTYPE(_u64, _ptr, _u64, _u32, _ptr)
_MMIO_WRITE = ctypes.CFUNCTYPE(None, _ptr, _u64, _u32, _u64, _ptr)

_WORD_OF = {
    **{arm64_const.UC_ARM64_REG_X0 + n: n for n in range(29)},
    arm64_const.UC_ARM64_REG_X29: 29,
    arm64_const.UC_ARM64_REG_X30: 30,
}
"""The word of an ARM64 register by Unicorn's number; XZR has none."""

_ALWAYS = (1, 0)  # an empty range means every address


class _Block(ctypes.Structure):
    """A translated block, as ``uc_tb``."""

    _fields_ = (("pc", _u64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


class Hooks:
    """The hooks of one engine; :class:`~kprobesim.machine.unicorn.engine.Engine` has the rest."""

    words: Any
    _lib: ctypes.CDLL
    _handle: int

    def __init__(self) -> None:
        self._callbacks: dict[int, object] = {}  # or they are collected while C still calls them
        self._thunks: dict[object, object] = {}  # one for each callback of on_code()
        self._places: dict[int, tuple[int, int]] = {}  # of code hooks, by handle
        self._exits: BlockExits | None = None
        self._devices: list[object] = []

    def write_number(self, number: int, value: int) -> None:
        """Write a register by its Unicorn number."""
        raise NotImplementedError

    def _check(self, status: int, what: str) -> None:
        raise NotImplementedError

    # -- traps and code --------------------------------------------------------------------------

    def on_interrupt(self, callback: Callable[[object, int, object], None]) -> None:
        """Call ``callback(_, number, _)`` for every interrupt and exception."""
        self._hook(unicorn.UC_HOOK_INTR, _INTERRUPT(callback))

    def on_invalid_instruction(self, callback: Callable[[object, object], bool]) -> None:
        """Call ``callback(_, _)`` for an undefined x86 instruction; true goes on at the new ip."""
        self._hook(unicorn.UC_HOOK_INSN_INVALID, _INVALID(callback))

    def on_code(
        self,
        address: int,
        callback: Callable[[object, int, int, object], None],
        *,
        last: int | None = None,
    ) -> int:
        """Call ``callback(_, address, size, _)`` before the instruction at virtual ``address``.

        With ``last`` before each one that starts in between, the two included.
        Guest memory is not touched. Code that was translated before has no hook in it: forget it.
        Returns a handle for :meth:`unhook`.
        """
        thunk = self._thunks.get(callback)
        if thunk is None:
            thunk = self._thunks[callback] = _CODE(callback)
        place = address, last or address
        handle = self._hook(unicorn.UC_HOOK_CODE, thunk, place)
        if self._exits is not None:
            self._exits.add(*place)
            self._places[handle] = place
        return handle

    def on_new_block(self, low: int, high: int, callback: Callable[[int, int, int], None]) -> int:
        """Call ``callback(start, size, instructions)`` for each block that is translated.

        It is about to run for the first time, and starts at a virtual address from ``low`` to
        ``high``.
        """

        def read(_uc: object, block: int, _before: object, _data: object) -> None:
            new = _Block.from_address(block)
            callback(new.pc, new.size, new.icount)

        return self._hook(unicorn.UC_HOOK_EDGE_GENERATED, _NEW_BLOCK(read), (low, high))

    def unhook(self, handle: int) -> None:
        """Remove a hook; what is translated goes on calling it until it is forgotten."""
        self._check(self._lib.uc_hook_del(self._handle, handle), "removing a hook")
        # The thunk stays: translated code may still hold its address.
        if self._exits is not None and handle in self._places:
            self._exits.remove(*self._places.pop(handle))

    # -- instructions ----------------------------------------------------------------------------

    def on_syscall(self, callback: Callable[[object, object], None]) -> None:
        """Call ``callback(_, _)`` for SYSCALL (x86-64); the ip it sets is moved on by 2."""
        self._hook(unicorn.UC_HOOK_INSN, _SYSCALL(callback), insn=x86_const.UC_X86_INS_SYSCALL)

    def on_cpuid(self, callback: Callable[[object, object], int]) -> None:
        """Call ``callback(_, _)`` for CPUID (x86-64); non-zero: it has set the registers."""
        self._hook(unicorn.UC_HOOK_INSN, _CPUID(callback), insn=x86_const.UC_X86_INS_CPUID)

    def on_ports(
        self,
        read: Callable[[object, int, int, object], int],
        write: Callable[[object, int, int, int, object], None],
    ) -> None:
        """``read(_, port, size, _)`` and ``write(_, port, size, value, _)`` for IN and OUT."""
        self._hook(unicorn.UC_HOOK_INSN, _PORT_IN(read), insn=x86_const.UC_X86_INS_IN)
        self._hook(unicorn.UC_HOOK_INSN, _PORT_OUT(write), insn=x86_const.UC_X86_INS_OUT)

    def on_read_tsc(self, read: Callable[[], int]) -> None:
        """Let RDTSC and RDTSCP (x86-64) give what ``read()`` returns."""
        words = self.words

        def set_ax_dx(_uc: object, _data: object) -> int:
            value = read()
            words[0], words[2] = value & 0xFFFFFFFF, value >> 32
            return 1

        def set_ax_dx_cx(uc: object, data: object) -> int:
            words[1] = 0  # the number of the CPU
            return set_ax_dx(uc, data)

        self._hook(unicorn.UC_HOOK_INSN, _CPUID(set_ax_dx), insn=x86_const.UC_X86_INS_RDTSC)
        self._hook(unicorn.UC_HOOK_INSN, _CPUID(set_ax_dx_cx), insn=x86_const.UC_X86_INS_RDTSCP)

    def on_read_counter(self, address: int, read: Callable[[], int]) -> int:
        """Let the ``mrs`` at virtual ``address`` (ARM64) give what ``read()`` returns."""
        words = self.words

        def set_register(_uc: object, register: int, _which: object, _data: object) -> int:
            word = _WORD_OF.get(register)
            if word is not None:
                words[word] = read()
            return 1

        insn = arm64_const.UC_ARM64_INS_MRS
        return self._hook(unicorn.UC_HOOK_INSN, _SYSTEM(set_register), (address, address), insn)

    def on_system(self, address: int, callback: Callable[[], None], *, write: bool) -> None:
        """Do ``callback()`` instead of the ``mrs`` or ``msr`` at virtual ``address`` (ARM64)."""

        def skip(_uc: object, _register: int, _which: object, _data: object) -> int:
            callback()
            return 1

        insn = arm64_const.UC_ARM64_INS_MSR if write else arm64_const.UC_ARM64_INS_MRS
        self._hook(unicorn.UC_HOOK_INSN, _SYSTEM(skip), (address, address), insn)

    # -- devices ---------------------------------------------------------------------------------

    def map_device(
        self,
        physical: int,
        size: int,
        read: Callable[[object, int, int, object], int],
        write: Callable[[object, int, int, int, object], None],
    ) -> None:
        """Device memory: ``read(_, offset, size, _)`` and ``write(_, offset, size, value, _)``."""
        reader, writer = _MMIO_READ(read), _MMIO_WRITE(write)
        self._devices += (reader, writer)
        status = self._lib.uc_mmio_map(
            self._handle,
            physical,
            size,
            ctypes.cast(reader, _ptr),
            None,
            ctypes.cast(writer, _ptr),
            None,
        )
        self._check(status, f"mapping a device at {physical:#x}")

    def on_unmapped(self, low: int, high: int, callback: Callable[[int], None]) -> None:
        """Call ``callback(address)`` before an access to nothing ends the run.

        Physical addresses from ``low`` to ``high`` are watched; the pc is that of the instruction.

        There must be no RAM in between: it would be slow from then on.
        """

        def tell(_uc: object, _kind: int, address: int, *_: object) -> bool:
            callback(address)
            return False

        kinds = unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED
        self._hook(kinds, _UNMAPPED(tell), (low, high))

    def _hook(self, kind: int, thunk: Any, where: tuple[int, int] = _ALWAYS, insn: int = 0) -> int:
        handle = ctypes.c_size_t()
        code = ctypes.cast(thunk, _ptr)
        status = self._lib.uc_hook_add(
            self._handle, ctypes.addressof(handle), kind, code, None, *where, _int(insn)
        )
        self._check(status, "adding a hook")
        self._callbacks[handle.value] = thunk
        return handle.value
