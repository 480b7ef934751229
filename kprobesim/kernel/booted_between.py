"""``BootedBetween``: another CPU's call in a booted kernel, while the rest of it stands still."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kprobesim.boot.stops import StopsAt
from kprobesim.kernel.arguments import code_address, give_back, pass_arguments
from kprobesim.kernel.between import Between
from kprobesim.machine.faults import GuestLimit, GuestTimeout

if TYPE_CHECKING:
    from kprobesim.inside.allocator import GuestAllocator
    from kprobesim.inside.calls import GuestCalls
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.races.planned import PlannedCall

__all__ = ["BootedBetween"]

_NS = 1_000_000_000  # of the guest's, for the call


class BootedBetween(Between):
    """The run pauses, only one CPU runs until its kworker has made the call, and all go on.

    On that CPU interrupts and other tasks run meanwhile, as ever.
    """

    def __init__(
        self,
        kernel: BootedKernel,
        calls: GuestCalls,
        memory: GuestAllocator,
        place: tuple[str, int],
        call: PlannedCall,
        on: int,
        times: int,
    ) -> None:
        """Nothing is watched yet.

        Args:
            kernel: The kernel.
            calls: Who makes the call; others are on their way meanwhile, by somebody else.
            memory: Where its arguments are.
            place: The instruction: text and address.
            call: What is called.
            on: On which CPU.
            times: How often.
        """
        super().__init__(*place, on, times)
        self._kernel, self._calls, self._memory, self._call = kernel, calls, memory, call
        self._target = code_address(call.function, kernel.symbols, kernel.machine)
        self._values: Sequence[int] = ()

    def _begin(self, stack: ExitStack) -> None:
        self._values, lent = pass_arguments(self._call.arguments, self._memory, False)
        stack.callback(give_back, lent, self._memory)
        machine = self._kernel.machine
        stop = StopsAt(
            self._kernel.board,
            [self.address],
            lambda _: self._wanted(machine.vcpu.number),
            self._meanwhile,
        )
        stack.callback(stop.close)

    def _meanwhile(self, _address: int) -> None:
        turns = self._kernel.board.turns
        assert turns is not None
        stopped, self._busy = turns.running, True
        try:
            with turns.alone(self.on):
                result = self._calls.call(
                    self._target, self._values, max_instructions=_NS, cpu=self.on
                )
        except (GuestTimeout, GuestLimit) as error:
            raise GuestTimeout(
                f"{self._call} on CPU {self.on} comes to no end while CPU {stopped} stands before "
                f"{self.place}: does it wait for that one?",
                error.regs,
                error.place,
                error.trace,
            ) from error
        finally:
            self._busy = False
        self.results.append(result)
