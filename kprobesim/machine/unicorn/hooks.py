"""What Unicorn calls back for: traps, code, instructions, device memory, ports.

Nothing may leave a C callback: ctypes prints an exception there and goes on. So each callback is
called within one guard, which keeps what it raises and stops the engine; ``Engine.run()`` raises
that when the C code has returned.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.clock_reads import WORD_OF, ClockReads
from kprobesim.machine.unicorn.library import check
from kprobesim.machine.unicorn.native import Native

__all__ = ["Hooks"]

_T = TypeVar("_T")

_ptr = ctypes.c_void_p
_u32, _u64, _int = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int

# Each argument that becomes a Python number costs 20 ns, so nobody is given what nobody reads: of
# Unicorn's handle one byte, and nothing of the user data, which is behind the last argument.
_unread = ctypes.c_uint8
_TRAP = ctypes.CFUNCTYPE(None, _unread, _u32)
_ARRIVAL = ctypes.CFUNCTYPE(None, _unread, _u64)
_INVALID = ctypes.CFUNCTYPE(ctypes.c_bool, _unread)
_CODE = ctypes.CFUNCTYPE(None, _unread, _u64, _u32)
_CPUID = ctypes.CFUNCTYPE(_int, _unread)
_SYSCALL = ctypes.CFUNCTYPE(None, _unread)
_PORT_IN = ctypes.CFUNCTYPE(_u32, _unread, _u32, _int)
_PORT_OUT = ctypes.CFUNCTYPE(None, _unread, _u32, _int, _u32)
_SYSTEM = ctypes.CFUNCTYPE(_u32, _unread, _int)
_UNMAPPED = ctypes.CFUNCTYPE(ctypes.c_bool, _unread, _int, _u64)
_MMIO_READ = ctypes.CFUNCTYPE(_u64, _unread, _u64, _u32)
_MMIO_WRITE = ctypes.CFUNCTYPE(None, _unread, _u64, _u32, _u64)

_ALWAYS = (1, 0)  # an empty range means every address


def _native(thunk: Any) -> Native:
    return Native(ctypes.cast(thunk, _ptr).value or 0, 0, thunk)


class Hooks:
    """The hooks of one engine, which is ``handle`` for the C library ``lib``.

    ``words`` are its registers; ``stop()`` stops it.
    """

    def __init__(self, lib: ctypes.CDLL, handle: int, words: Any, stop: Callable[[], None]) -> None:
        self._lib = lib
        self.handle = handle
        self._words = words
        self._stop = stop
        self.kept: BaseException | None = None
        """What :meth:`keep` kept of the current or last run."""
        self._callbacks: dict[int, object] = {}  # or they are collected while C still calls them
        self._thunks: WeakValueDictionary[object, Any] = WeakValueDictionary()  # of who is armed
        self._devices: list[object] = []

    # -- what callbacks raise ----------------------------------------------------------------------

    def keep(self, error: BaseException) -> None:
        """Stop the engine, whose ``run()`` then raises ``error`` if it is the first one."""
        if self.kept is None:
            self.kept = error
        self._stop()

    def raise_kept(self) -> None:
        """Raise what :meth:`keep` kept; for the engine, when it has stopped."""
        kept, self.kept = self.kept, None
        if kept is not None:
            raise kept

    def _guarded(self, callback: Callable[..., _T], otherwise: _T) -> Callable[..., _T]:
        """``callback`` without Unicorn's handle before its arguments."""
        keep = self.keep

        def guarded(_uc: object, *arguments: Any) -> _T:
            try:
                return callback(*arguments)
            except BaseException as error:
                keep(error)
                return otherwise

        return guarded

    # -- traps and code --------------------------------------------------------------------------

    def on_interrupt(self, callback: Callable[[object, int], None]) -> None:
        """Call ``callback(_, number)`` for every interrupt and exception.

        Where it leaves the pc the guest goes on: Unicorn delivers nothing (unicorn#1027). It must
        hand what is raised to :meth:`keep`: a guard of its own would be one more call in the way of
        every hit.
        """
        self.add(numbers.UC_HOOK_INTR, _TRAP(callback))

    def on_invalid_instruction(self, callback: Callable[[], bool]) -> None:
        """Call ``callback()`` for an undefined x86 instruction; true goes on at the new ip."""
        self.add(numbers.UC_HOOK_INSN_INVALID, _INVALID(self._guarded(callback, False)))

    def code_callback(self, callback: Callable[[int, int], object]) -> Native:
        """What calls ``callback(address, size)``, to be armed at addresses."""
        thunk = self._thunks.get(callback)
        if thunk is None:
            thunk = self._thunks[callback] = _CODE(self._guarded(callback, None))
        return _native(thunk)

    def arrival(self, callback: Callable[[object, int], object]) -> Native:
        """What calls ``callback(_, address)``, without a guard.

        It must hand what is raised to :meth:`keep`.
        """
        thunk = self._thunks.get(callback)
        if thunk is None:
            thunk = self._thunks[callback] = _ARRIVAL(callback)
        return _native(thunk)

    def unhook(self, handle: int) -> None:
        """Remove a hook; what is translated goes on calling it until it is forgotten.

        Also from its own callback: Unicorn frees it when the run ends (unicorn#1127).
        """
        check(self._lib.uc_hook_del(self.handle, handle), "removing a hook")
        # The thunk stays: translated code may still hold its address.

    def forget(self, handle: int) -> None:
        """Keep nothing more of a hook that is removed: all that called it is forgotten, too."""
        self._callbacks.pop(handle, None)

    # -- instructions ----------------------------------------------------------------------------

    def on_syscall(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` for SYSCALL (x86-64); the ip it sets is moved on by 2."""
        thunk = _SYSCALL(self._guarded(callback, None))
        self.add(numbers.UC_HOOK_INSN, thunk, insn=numbers.UC_X86_INS_SYSCALL)

    def on_cpuid(self, callback: Callable[[], bool]) -> None:
        """Call ``callback()`` for CPUID (x86-64); true: it has set the registers."""
        thunk = _CPUID(self._guarded(callback, False))
        self.add(numbers.UC_HOOK_INSN, thunk, insn=numbers.UC_X86_INS_CPUID)

    def on_ports(
        self, read: Callable[[int, int], int], write: Callable[[int, int, int], None]
    ) -> None:
        """``read(port, size)`` and ``write(port, size, value)`` for IN and OUT."""
        reader = _PORT_IN(self._guarded(read, 0))
        writer = _PORT_OUT(self._guarded(write, None))
        self.add(numbers.UC_HOOK_INSN, reader, insn=numbers.UC_X86_INS_IN)
        self.add(numbers.UC_HOOK_INSN, writer, insn=numbers.UC_X86_INS_OUT)

    def on_read_tsc(self, read: Callable[[], int], native: ClockReads | None = None) -> None:
        """Let RDTSC and RDTSCP (x86-64) give what ``read()`` returns, or ``native`` alone."""
        if native is not None:
            for function, insn in (
                (native.rdtsc, numbers.UC_X86_INS_RDTSC),
                (native.rdtscp, numbers.UC_X86_INS_RDTSCP),
            ):
                self.add(numbers.UC_HOOK_INSN, function, insn=insn, data=native.data, keep=native)
            return
        words = self._words

        def set_ax_dx() -> int:
            value = read()
            words[0], words[2] = value & 0xFFFFFFFF, value >> 32
            return 1

        def set_ax_dx_cx() -> int:
            words[1] = 0  # the number of the CPU
            return set_ax_dx()

        for callback, insn in (
            (set_ax_dx, numbers.UC_X86_INS_RDTSC),
            (set_ax_dx_cx, numbers.UC_X86_INS_RDTSCP),
        ):
            self.add(numbers.UC_HOOK_INSN, _CPUID(self._guarded(callback, 1)), insn=insn)

    def on_read_counter(
        self, address: int, read: Callable[[], int], native: ClockReads | None = None
    ) -> int:
        """Let the ``mrs`` at virtual ``address`` (ARM64) give what ``read()`` returns.

        Or ``native`` alone, where there is one.
        """
        where, insn = (address, address), numbers.UC_ARM64_INS_MRS
        if native is not None:
            return self.add(
                numbers.UC_HOOK_INSN, native.mrs, where, insn, data=native.data, keep=native
            )
        words = self._words

        def set_register(register: int) -> int:
            word = WORD_OF.get(register)
            if word is not None:
                words[word] = read()
            return 1

        thunk = _SYSTEM(self._guarded(set_register, 1))
        return self.add(numbers.UC_HOOK_INSN, thunk, where, insn=insn)

    def on_system(self, address: int, callback: Callable[[], None], *, write: bool) -> None:
        """Do ``callback()`` instead of the ``mrs`` or ``msr`` at virtual ``address`` (ARM64)."""

        def skip(_register: int) -> int:
            callback()
            return 1

        insn = numbers.UC_ARM64_INS_MSR if write else numbers.UC_ARM64_INS_MRS
        thunk = _SYSTEM(self._guarded(skip, 1))
        self.add(numbers.UC_HOOK_INSN, thunk, (address, address), insn)

    # -- devices ---------------------------------------------------------------------------------

    def map_device(
        self,
        physical: int,
        size: int,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
    ) -> None:
        """Device memory: ``read(offset, size)`` and ``write(offset, size, value)``."""
        reader = _MMIO_READ(self._guarded(read, 0))
        writer = _MMIO_WRITE(self._guarded(write, None))
        self._devices += (reader, writer)
        status = self._lib.uc_mmio_map(
            self.handle,
            physical,
            size,
            ctypes.cast(reader, _ptr),
            None,
            ctypes.cast(writer, _ptr),
            None,
        )
        check(status, f"mapping a device at {physical:#x}")

    def on_unmapped(self, low: int, high: int, callback: Callable[[int], None]) -> None:
        """Call ``callback(address)`` before an access to nothing ends the run.

        Physical addresses from ``low`` to ``high`` are watched; the pc is that of the instruction.

        There must be no RAM in between: it would be slow from then on.
        """

        def tell(_kind: int, address: int) -> bool:
            callback(address)
            return False

        kinds = numbers.UC_HOOK_MEM_READ_UNMAPPED | numbers.UC_HOOK_MEM_WRITE_UNMAPPED
        self.add(kinds, _UNMAPPED(self._guarded(tell, False)), (low, high))

    def add(
        self,
        kind: int,
        thunk: Any,
        where: tuple[int, int] = _ALWAYS,
        insn: int = 0,
        data: int = 0,
        keep: object = None,
    ) -> int:
        """Let Unicorn call the C function ``thunk``; the ``on_`` methods say when.

        ``data`` is its last argument, ``keep`` what must live as long as it.
        Returns a handle for :meth:`unhook`.
        """
        handle = ctypes.c_size_t()
        code = ctypes.cast(thunk, _ptr)
        status = self._lib.uc_hook_add(
            self.handle, ctypes.addressof(handle), kind, code, data, *where, _int(insn)
        )
        check(status, "adding a hook")
        self._callbacks[handle.value] = thunk, keep
        return handle.value
