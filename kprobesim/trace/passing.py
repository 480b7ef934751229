"""Where an object goes: the functions that are given a pointer to it."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kprobesim.arch.architecture import architecture
from kprobesim.hexrepr import HexRepr
from kprobesim.html import table
from kprobesim.image import SymbolTable
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.native import SIGNATURE, Native
from kprobesim.trace.entry_names import EntryNames

__all__ = ["Followed", "Passing"]


@dataclass(frozen=True, slots=True, repr=False)
class Passing(HexRepr):
    """A function got the pointer.

    Attributes:
        time: The guest's time, in nanoseconds.
        function: The symbol.
        argument: Which one it is, from 1; of those that come in registers.
        value: What the function got: the pointer, or one into the object.
        caller: Where it returns, as ``function+offset/size``.
        pid: Of the task; ``None`` where nobody knows it.
        comm: Its name, likewise.
    """

    time: int
    function: str
    argument: int
    value: int
    caller: str
    pid: int | None
    comm: str | None

    def __str__(self) -> str:
        who = "" if self.comm is None else f" [{self.comm}-{self.pid}]"
        return (
            f"{self.function}(argument {self.argument} = {self.value:#x}) from {self.caller}{who}"
        )


class Followed:
    """Notes each function that gets the pointer, until :meth:`end` or the end of a ``with`` block.

    Attributes:
        address: The object.
        size: Pointers into its first bytes count, too; 1: only the pointer itself.
        hits: How many functions got it.
        passings: The first ones of these, in order.
    """

    def __init__(
        self,
        system: System,
        symbols: SymbolTable,
        address: int,
        size: int,
        most: int,
        current: Callable[[], tuple[int | None, str | None]],
    ) -> None:
        """Begin; see :meth:`Kernel.follow`."""
        abi = architecture(system.arch).abi
        self.address = address
        self.size = size
        self.hits = 0
        self.passings: list[Passing] = []
        self._system = system
        self._most = most
        self._current = current
        self._arguments = abi.numbers(abi.arguments)
        self._sp = abi.number(abi.stack_pointer)
        self._link = None if abi.link_register is None else abi.number(abi.link_register)
        self._names = EntryNames(symbols)
        self._counts: Counter[str] = Counter()
        thunk = SIGNATURE(self._block)
        self._native = Native(ctypes.cast(thunk, ctypes.c_void_p).value or 0, 0, thunk)
        system.engine.dispatch.every_block(self._native)

    def _block(self, _uc: object, address: int, _size: object, _data: object) -> None:
        try:
            words, low = self._system.words, self.address
            high = low + self.size
            for number, register in enumerate(self._arguments):
                if low <= words[register] < high:
                    name = self._names.at(address)
                    if name is not None:
                        self._note(name, number + 1, int(words[register]))
                    return
        except BaseException as error:  # nothing may leave a C callback
            self._system.engine.hooks.keep(error)

    def _note(self, name: str, argument: int, value: int) -> None:
        self.hits += 1
        self._counts[name] += 1
        if len(self.passings) >= self._most:
            return
        system, link = self._system, self._link
        words = system.words
        returns_to = system.cpu.read_u64(int(words[self._sp])) if link is None else words[link]
        caller = system.symbolize(int(returns_to))
        time = system.stopwatch.now()
        self.passings.append(Passing(time, name, argument, value, caller, *self._current()))

    def by_function(self) -> Counter[str]:
        """How often each function got it."""
        return Counter(self._counts)

    def end(self) -> None:
        """Note no more."""
        self._system.engine.dispatch.no_longer(self._native)

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def __iter__(self) -> Iterator[Passing]:
        return iter(self.passings)

    def __len__(self) -> int:
        return len(self.passings)

    def __repr__(self) -> str:
        return f"<Followed {self.address:#x}: {self.hits} functions got it>"

    def _repr_html_(self) -> str:
        rows = (
            (a.time, a.function, a.argument, f"{a.value:#x}", a.caller, a.comm)
            for a in self.passings
        )
        return table(
            ("time", "function", "argument", "value", "caller", "task"),
            rows,
            caption=repr(self),
            total=self.hits,
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self.passings))
