"""The barriers that a run's CPUs have come to: they access nothing, so the log has marks of them.

Marks are set in the functions that have run, which is known afterwards: a run that comes to new
functions with barriers is made once more.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kprobesim.arch.arm64.ordering import ordering
from kprobesim.arch.ordering import Ordering
from kprobesim.errors import GuestMemoryError
from kprobesim.image import SymbolTable
from kprobesim.machine.code_watch import INSTRUCTIONS
from kprobesim.machine.unicorn.access_log import AccessLog
from kprobesim.races.run_log import RunLog

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["Barriers"]

_INSTRUCTION = 4  # bytes, of ARM64
_MOST = 1 << 16  # bytes of a function
_ORDERS = Ordering.STORES | Ordering.LOADS | Ordering.FULL


class Barriers:
    """Those of one guest, as a context manager: of ARM64, where accesses need them."""

    def __init__(self, machine: System, symbols: SymbolTable, log: AccessLog) -> None:
        """Know none yet.

        Args:
            machine: The guest's.
            symbols: The kernel's, which say where functions begin and end.
            log: Where marks go.
        """
        self._machine, self._symbols, self._mark = machine, symbols, log.mark()
        self._known: set[int] = set()  # addresses of instructions whose functions are known
        self._looked: set[int] = set()  # where the functions begin that were looked through
        self._ending = ExitStack()

    def __enter__(self) -> Barriers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def learn(self, log: RunLog) -> bool:
        """Mark the barriers of all functions in ``log``; whether there are new ones.

        Then there are marks missing in the log: the run has to be made again.
        """
        found = False
        if self._known.issuperset(log.pcs):
            return False
        for pc in {*log.pcs} - self._known:
            self._known.add(pc)
            at = self._symbols.at(pc)
            if at is not None and at.symbol.address not in self._looked:
                self._looked.add(at.symbol.address)
                found = self._look(at.symbol.address, min(at.size, _MOST)) or found
        return found

    def _look(self, start: int, size: int) -> bool:
        watch, found = self._machine.code_watch, False
        try:
            code = self._machine.memory.read(start, size)
        except GuestMemoryError:
            return False
        for at in range(0, len(code) - _INSTRUCTION + 1, _INSTRUCTION):
            if ordering(code[at : at + _INSTRUCTION]) & _ORDERS:
                client = watch.watch_native(start + at, self._mark, INSTRUCTIONS)
                self._ending.callback(watch.unwatch, client)
                found = True
        return found
