"""A guest loop that calls one small function again and again: the hits that are measured."""

from __future__ import annotations

import struct
from collections.abc import Callable

from kprobesim.bench.contest import check
from kprobesim.bench.guestcode import CALL_LOOP
from kprobesim.bench.plain import Plain
from kprobesim.bench.rivals import hook_cost
from kprobesim.errors import EngineError
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.called import CalledKernel

__all__ = ["NAME", "Loop", "PlainLoop"]

NAME = b"kprobesim"
"""The string that lies behind two pointers."""

_POINTER = 8  # of that string, in what the function is called with
# Functions that return 0 for a pointer to a zero byte, and do nothing else. The first one there is.
_FUNCTIONS = ("tracing_map_cmp_none", "strlen")


class Loop:
    """One kernel's: ``call(n)`` calls ``function`` n times.

    Both arguments of each call are a pointer to ``struct { u64 zero; char *name; }``.

    Attributes:
        kernel: The guest.
        function: The name of what is called.
        where: "called" or "booted", as the guest is.
        arguments: Of the loop, behind the number of turns.
    """

    def __init__(self, kernel: CalledKernel | BootedKernel) -> None:
        """Put the loop and its data into the guest.

        Raises:
            EngineError: The kernel has no function that serves.
        """
        self.kernel = kernel
        names = [name for name in _FUNCTIONS if name in kernel.symbols]
        if not names:
            raise EngineError(f"{kernel} has none of {', '.join(_FUNCTIONS)}")
        self.function = names[0]
        code = CALL_LOOP[kernel.arch]
        self._code = kernel.alloc(len(code), executable=True)
        kernel.write(self._code, code)
        name, pointer = kernel.alloc(len(NAME) + 1), kernel.alloc(16)
        kernel.write(name, NAME + b"\0")
        kernel.write(pointer, struct.pack("<QQ", 0, name))
        self.where = "booted" if isinstance(kernel, BootedKernel) else "called"
        self.arguments = kernel.symbols[self.function].address, pointer

    @property
    def string_offset(self) -> int:
        """Where the pointer to the string is, behind the argument."""
        return _POINTER

    def call(self, turns: int) -> None:
        """Call the function so often."""
        result = self.kernel.call(self._code, turns, *self.arguments, timeout=None)
        check(f"{self.function}()", result, 0)

    def on(self, plain: Plain) -> PlainLoop:
        """The same loop on a rival that runs this kernel's memory."""
        return PlainLoop(plain, self._code, self.arguments)


class PlainLoop:
    """The loop on plain Unicorn, with the hooks of its binding."""

    def __init__(self, plain: Plain, code: int, arguments: tuple[int, int]) -> None:
        self._plain, self._code, self._arguments = plain, code, arguments

    def call(self, turns: int) -> None:
        """Call the function so often."""
        check("the loop's result", self._plain.call(self._code, turns, *self._arguments), 0)

    def hook(self, hits: int, *, reads: bool) -> Callable[[], float]:
        """Measures ``UC_HOOK_CODE`` on the function, with an empty handler or one register read."""
        return hook_cost(self._plain, self._arguments[0], self.call, hits, reads=reads)
