"""What an engine counts while it runs: blocks, instructions or nothing.

To count, Unicorn hooks a C function of its own to every instruction, which halves the speed. Hooked
to every block it costs a tenth, and the limit stops the guest as precisely, at the start of a
block. So a guest can always run with a limit, and without a second thread, whose stop would not be
precise: the access to memory that it meets is done twice. Blocks are counted by the function that
also calls who wants every block (:mod:`~kprobesim.machine.unicorn.dispatch`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.dispatch import Dispatch
from kprobesim.machine.unicorn.struct_layout import Layout, Words

__all__ = ["Counting"]

_ENDLESS = 1 << 62


class Counting:
    """One engine's.

    Attributes:
        on: Whether the current or last run counts anything.
        in_blocks: Whether that is blocks (runs of instructions without a branch).
    """

    def __init__(
        self,
        handle: int,
        layout: Layout,
        dispatch: Dispatch,
        unhook: Callable[[int], None],
        forget: Callable[[], None],
    ) -> None:
        """Count nothing yet.

        Args:
            handle: The address of the engine's ``uc_struct``.
            layout: Where in there the counter is.
            dispatch: What counts blocks.
            unhook: Removes a hook.
            forget: Drops all that was translated, with the old hooks in it.
        """
        self._dispatch = dispatch
        # The handle of the hook that counts, as Unicorn knows it.
        self._in_use: Words = (ctypes.c_uint64 * 1).from_address(handle + layout.counter - 8)
        self._unhook = unhook
        self._forget = forget
        self.on = self.in_blocks = False

    def begin(self, count: int) -> int:
        """A run begins that is to end after ``count``, or 0 for no limit; the limit for Unicorn.

        A block that was translated for an uncounted run does not count, so all are dropped when
        that changes.
        """
        if self.in_blocks:
            count = count or _ENDLESS
        if self.on != (count > 0):
            self._forget()
            self.on = not self.on
            self._dispatch.count_instructions(self.on and not self.in_blocks)
        return count

    def blocks(self) -> None:
        """From now on count blocks."""
        if self.in_blocks:
            return
        if self._in_use[0] and self.on:  # what Unicorn hooks to each instruction
            self._unhook(self._in_use[0])
            self._forget()
            self._in_use[0] = 0
        if self._in_use[0]:
            raise EngineError("cannot let Unicorn count blocks; is this a new version of it?")
        self._in_use[0] = self._dispatch.count_blocks(True)
        self.on = self.in_blocks = True
        self._dispatch.count_instructions(False)

    def instructions(self) -> None:
        """From now on count instructions."""
        if self.in_blocks:
            self._dispatch.count_blocks(False)
            self._in_use[0] = 0
            self.in_blocks = self.on = False  # all is dropped when it runs
