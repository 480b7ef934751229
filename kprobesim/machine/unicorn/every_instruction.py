"""The registers before each instruction that runs, for those who look at a run afterwards.

It takes 3 us an instruction, and all translated code is dropped when it begins and when it ends, so
it is for one function or one system call. The guest's time counts blocks and is the same.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable

import unicorn

from kprobesim.errors import UsageError
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import MASK64

__all__ = ["EveryInstruction"]

_CODE = ctypes.CFUNCTYPE(None, ctypes.c_uint8, ctypes.c_uint64, ctypes.c_uint32)

_KERNEL = (1 << 63, MASK64)
"""The addresses that are noted: those of a kernel. Programs in user space run as fast as ever."""

_STACK = 16 << 10


class EveryInstruction:
    """Notes in memory what runs; as a context manager it does so until the end of the block.

    Attributes:
        addresses: Of the instructions, in the order in which they ran.
        full: Whether more ran than ``most``; those are not noted.
        on: Whether what runs now is noted.
    """

    def __init__(self, engine: Engine, words: int, most: int, sp: int) -> None:
        """Note the first ``words`` registers of ``engine`` before ``most`` instructions.

        ``sp`` is the number of the stack pointer among them.
        """
        self.addresses = array("Q")
        self.full = False
        self.on = True
        self._sp = sp
        self._low, self._high = 0, 1 << 64
        self._engine = engine
        self._words = words
        self._most = most
        self._registers = bytearray()
        self._thunk = _CODE(self._make_note())  # lives as long as translated code may call it
        self._hook: int | None = None
        self.enough: Callable[[], object] = lambda: None
        """Called once, in the guest's run, when it is full."""

    def _make_note(self) -> Callable[[int, int, int], None]:
        note, registers = self.addresses.append, self._registers
        window, most, keep = self._engine.window[: self._words], self._most, self._engine.hooks.keep
        addresses, sp = self.addresses, self._sp

        def before(_uc: int, address: int, _size: int) -> None:
            nonlocal registers
            try:
                if not self.on or not self._low <= window[sp] < self._high:
                    return
                if len(addresses) < most:
                    note(address)
                    registers += window.tobytes()
                elif not self.full:
                    self.full = True
                    self.enough()
            except BaseException as error:  # nothing may leave a C callback
                keep(error)

        return before

    def __enter__(self) -> EveryInstruction:
        if self._engine.running:
            raise UsageError("the guest runs: record from outside of handlers")
        self._engine.forget_all_code()
        self._hook = self._engine.hooks.add(unicorn.UC_HOOK_CODE, self._thunk, _KERNEL)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._engine.hooks.unhook(self._hook)
            self._hook = None
            self._engine.forget_all_code()

    def only_task_of(self, sp: int) -> None:
        """Note only what runs on the stack that ``sp`` points into: one task.

        It may be interrupted, and others may run meanwhile. For a stack pointer near the top, as a
        system call's first one is: ``THREAD_SIZE`` may be a multiple of what is taken for it.
        """
        self._low = (sp - 1) & -_STACK
        self._high = self._low + _STACK + 1  # an empty one's is in it, too

    @property
    def notes_now(self) -> bool:
        """Whether the instruction that runs now is noted."""
        sp = self._engine.window[self._sp]
        return self.on and self._low <= sp < self._high

    def note(self, address: int) -> None:
        """Note the registers as they are before the instruction at ``address``, and end there."""
        self.on = False
        if not self.addresses or self.addresses[-1] != address:
            self.addresses.append(address)
            self._registers += self._engine.window[: self._words].tobytes()

    def __len__(self) -> int:
        return len(self.addresses)

    def register(self, number: int, word: int) -> int:
        """Register ``word`` before instruction ``number`` ran."""
        at = 8 * (number * self._words + word)
        return int.from_bytes(self._registers[at : at + 8], "little")
