"""A hook of Unicorn's for each armed address: where none of its functions can be replaced.

As exact as :class:`~kprobesim.machine.unicorn.dispatch.Dispatcher`, but Unicorn walks a list of all
hooks at each hit, and at each instruction that it translates; and looks everywhere for a stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kprobesim.errors import EngineError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.native import Native
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["SingleHooks"]


class SingleHooks:
    """The :class:`~kprobesim.machine.unicorn.dispatch.Dispatch` of one engine.

    Attributes:
        live: A hook is in what was translated before until that is forgotten.
    """

    live = False
    block_end: Words | None = None

    def __init__(self, add: Callable[..., int], remove: Callable[[int], None], count: int) -> None:
        """Nobody is armed.

        Args:
            add: Adds a hook: ``add(kind, function, (low, high), data=0)``.
            remove: Removes it by its handle.
            count: The function by which Unicorn counts; 0 if it was not found.
        """
        self._add = add
        self._remove = remove
        self._count = count
        self._counts = 0
        self.retired: list[object] = []  # all live as long as the engine
        self._hooks: dict[int, int] = {}
        self._blocks: list[tuple[Native, int]] = []

    def arm(self, address: int, native: Native, *, leaves: bool) -> None:
        """Call ``native`` before the instruction at ``address``."""
        self.disarm(address)
        self._hooks[address] = self._hook(numbers.UC_HOOK_CODE, native, (address, address))

    def _hook(self, kind: int, native: Native, place: tuple[int, int]) -> int:
        return self._add(kind, native.function, place, data=native.data, keep=native.keep)

    def disarm(self, address: int) -> None:
        """What is translated goes on calling it until that is forgotten."""
        hook = self._hooks.pop(address, None)
        if hook is not None:
            self._remove(hook)

    def chain(self, natives: Sequence[Native]) -> Native:
        """There is no code for that."""
        raise EngineError("this computer has no machine code that calls several functions")

    def every_block(self, native: Native) -> None:
        """Call ``native`` at each block, behind what counts."""
        self._blocks.append((native, self._hook(numbers.UC_HOOK_BLOCK, native, (1, 0))))

    def no_longer(self, native: Native) -> None:
        """Call it no more, in what is translated from now on."""
        for each, hook in self._blocks:
            if each is native:
                self._remove(hook)
        self._blocks = [pair for pair in self._blocks if pair[0] is not native]

    def look_everywhere(self, on: bool) -> None:
        """All that is translated looks for a stop everywhere."""

    def look_in_next(self) -> None:
        """All that is translated looks for a stop everywhere."""

    def count_blocks(self, on: bool) -> int:
        """Hook Unicorn's own function to blocks."""
        if not on:
            self._remove(self._counts)
            return 0
        if not self._count:
            raise EngineError("cannot let Unicorn count blocks; is this a new version of it?")
        self._counts = self._add(numbers.UC_HOOK_BLOCK, self._count, (1, 0))
        return self._counts

    def count_instructions(self, on: bool) -> None:
        """It makes no difference."""
