"""``CalledBetween``: another CPU's call in a kernel whose functions are called."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kprobesim.kernel.arguments import code_address, give_back, pass_arguments
from kprobesim.kernel.between import Between
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.faults import GuestTimeout

if TYPE_CHECKING:
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kernel.called_memory import CalledMemory
    from kprobesim.races.planned import PlannedCall

__all__ = ["CalledBetween"]

_SECONDS = 2.0  # of the host's, for the call


class CalledBetween(Between):
    """The CPUs are there: the call is made inside of the one that comes to the instruction."""

    def __init__(
        self,
        kernel: CalledKernel,
        memory: CalledMemory,
        place: tuple[str, int],
        call: PlannedCall,
        on: int,
        times: int,
    ) -> None:
        """Nothing is watched yet."""
        super().__init__(*place, on, times)
        self._kernel, self._memory, self._call = kernel, memory, call
        self._target = code_address(call.function, kernel.symbols, kernel.machine)
        self._values: Sequence[int] = ()

    def _begin(self, stack: ExitStack) -> None:
        watch = self._kernel.machine.code_watch
        self._values, lent = pass_arguments(self._call.arguments, self._memory, True)
        stack.callback(give_back, lent, self._memory)
        stack.callback(watch.unwatch, watch.watch(self.address, self._arrived, INSIDE))

    def _arrived(self, _address: int) -> None:
        machine = self._kernel.machine
        stopped = machine.vcpu
        if not self._wanted(stopped.number):
            return
        self._busy = True
        machine.switch_to(self.on)
        runs = machine.vcpu
        depth, runs.depth = runs.depth, stopped.depth  # the stacks of both CPUs' calls are others
        try:
            result = machine.call_in_turn(self._target, self._values, _SECONDS, 0)
        except GuestTimeout as error:
            raise GuestTimeout(
                f"{self._call} on CPU {self.on} comes to no end while CPU {stopped.number} stands "
                f"before {self.place}: does it wait for what that one holds?",
                error.regs,
                error.place,
                error.trace,
            ) from error
        finally:
            runs.depth = depth
            machine.switch_to(stopped.number)
            self._busy = False
        self.results.append(result)
