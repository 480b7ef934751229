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

__all__ = ["EveryInstruction"]

_CODE = ctypes.CFUNCTYPE(None, ctypes.c_uint8, ctypes.c_uint64, ctypes.c_uint32)


class EveryInstruction:
    """Notes in memory what runs; as a context manager it does so until the end of the block.

    Attributes:
        addresses: Of the instructions, in the order in which they ran.
        full: Whether more ran than ``most``; those are not noted.
    """

    def __init__(self, engine: Engine, words: int, most: int) -> None:
        """Note the first ``words`` registers of ``engine`` before ``most`` instructions."""
        self.addresses = array("Q")
        self.full = False
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
        addresses = self.addresses

        def before(_uc: int, address: int, _size: int) -> None:
            nonlocal registers
            try:
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
        self._hook = self._engine.hooks.add(unicorn.UC_HOOK_CODE, self._thunk)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._engine.hooks.unhook(self._hook)
            self._hook = None
            self._engine.forget_all_code()

    def __len__(self) -> int:
        return len(self.addresses)

    def register(self, number: int, word: int) -> int:
        """Register ``word`` before instruction ``number`` ran."""
        at = 8 * (number * self._words + word)
        return int.from_bytes(self._registers[at : at + 8], "little")
