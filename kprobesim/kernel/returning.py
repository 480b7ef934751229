"""The calls of functions that a running guest makes: where each begins, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kprobesim.arch.architecture import architecture
from kprobesim.hexrepr import HexRepr
from kprobesim.machine.code_watch import INSIDE, Watch
from kprobesim.machine.system import System

__all__ = ["GuestCall", "watch_calls"]


@dataclass(frozen=True, slots=True, repr=False)
class GuestCall(HexRepr):
    """One call: its number, the function, and where it returns, with which stack pointer."""

    number: int
    address: int
    returns_to: int
    sp: int


class CallWatch:
    """Tells of calls of some functions, until :meth:`close`."""

    def __init__(
        self,
        system: System,
        functions: Iterable[int],
        entered: Callable[[GuestCall], bool],
        returned: Callable[[GuestCall, int], object],
    ) -> None:
        """Begin; see :func:`watch_calls`."""
        abi = architecture(system.arch).abi
        self._system = system
        self._entered = entered
        self._returned = returned
        self._sp = abi.number(abi.stack_pointer)
        self._result = abi.number(abi.result)
        self._link = None if abi.link_register is None else abi.number(abi.link_register)
        self._pushed = abi.return_bytes
        self._open: dict[tuple[int, int], GuestCall] = {}
        self._returns: dict[int, Watch] = {}
        self._seen = 0
        self._left = False
        self._watches = [self._watch(address, self._arrived) for address in functions]

    def _watch(self, address: int, arrived: Callable[[int], bool]) -> Watch:
        return self._system.code_watch.watch(address, arrived, INSIDE)

    def _arrived(self, address: int) -> bool:
        if self._left:  # the guest goes on from where it was stopped
            self._left = False
            return False
        words = self._system.words
        sp = int(words[self._sp])
        cpu, link = self._system.cpu, self._link
        returns_to = cpu.read_u64(sp) if link is None else int(words[link])
        self._seen += 1
        call = GuestCall(self._seen, address, returns_to, sp + self._pushed)
        self._open[call.returns_to, call.sp] = call
        if returns_to not in self._returns:
            self._returns[returns_to] = self._watch(returns_to, self._came_back)
        if self._entered(call):
            self._left = True
            self._system.engine.write_pc(address)  # leaves the block: the guest stops before it
            return True
        return False

    def _came_back(self, address: int) -> bool:
        words = self._system.words
        call = self._open.pop((address, int(words[self._sp])), None)
        if call is not None and self._returned(call, int(words[self._result])) is True:
            self._system.engine.write_pc(address)  # as above; the call is known no more
            return True
        return False

    def close(self) -> None:
        """Tell no more."""
        for watch in [*self._watches, *self._returns.values()]:
            self._system.code_watch.unwatch(watch)


def watch_calls(
    system: System,
    functions: Iterable[int],
    entered: Callable[[GuestCall], bool],
    returned: Callable[[GuestCall, int], object],
) -> CallWatch:
    """Tell of calls of functions.

    Args:
        system: The guest.
        functions: Their addresses.
        entered: Is told of each call, and says whether the guest is to stop there, for which it
            must have asked.
        returned: Is told of each return, with the result; true: the guest is to stop there, for
            which it must have asked.
    """
    return CallWatch(system, functions, entered, returned)
