"""``Unwound``: the callers that the unwinder finds, for compiled code, too: it calls back for them.

A kernel without frame pointers tells its callers by ORC, which compiled code does not read; and in
the middle of a function frame pointers do not tell all.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import islice

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.system import System
from kprobesim.programs.stores.stacks import DEPTH
from kprobesim.programs.stores.words import address_of, new_words
from kprobesim.stack.walk import StackWalker

__all__ = ["Unwound"]

_CALL = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)


class Unwound:
    """Unwinds the stack of ``machine``.

    Attributes:
        words: Where the last callers are that compiled code has asked for.
        function: The address of a C function: it takes where the CPU is, writes its callers to
            ``words``, and gives how many there are.
    """

    def __init__(
        self, machine: System, image: KernelImage, keep: Callable[[BaseException], object]
    ) -> None:
        """Nothing is unwound yet; ``keep`` gets what may not leave a callback."""
        self._machine, self._keep = machine, keep
        self._walker = StackWalker(machine, image)
        self._found = new_words(DEPTH)
        self.words = address_of(self._found)
        self._callback = _CALL(self._call)
        self.function = ctypes.cast(self._callback, ctypes.c_void_p).value or 0

    def callers(self, ip: int) -> Sequence[int]:
        """Where the calls return to that led to the instruction at ``ip``, the innermost first.

        The CPU stands there, before it or in the trap of a breakpoint on it.
        """
        found: list[int] = []
        try:
            for place in islice(self._walker.frames(self._machine.regs, ip), 1, DEPTH + 1):
                found.append(place.address)
        except GuestMemoryError:  # what was found until then is worth something
            pass
        return found

    def _call(self, ip: int) -> int:
        try:
            found = self.callers(ip)
            self._found[: len(found)] = list(found)
            return len(found)
        except BaseException as error:
            self._keep(error)
            return 0
