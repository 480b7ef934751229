"""Races in a booted kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kprobesim.errors import UsageError
from kprobesim.races.planned import PlannedCall
from kprobesim.races.trials import Trials

if TYPE_CHECKING:
    from kprobesim.inside.allocator import GuestAllocator
    from kprobesim.inside.calls import GuestCalls
    from kprobesim.kernel.between import Between
    from kprobesim.kernel.booted import BootedKernel

__all__ = ["BootedRaces"]


class BootedRaces:
    """What races need of one kernel."""

    def __init__(self, kernel: BootedKernel, memory: GuestAllocator) -> None:
        """Nothing is raced yet."""
        self._kernel, self._memory = kernel, memory

    @cached_property
    def _calls(self) -> GuestCalls:
        """Who calls while another call stands still."""
        return self._kernel.new_calls()

    def between(self, place: tuple[str, int], call: PlannedCall, on: int, times: int) -> Between:
        """See :meth:`~kprobesim.kernel.racing.Racing.between`."""
        from kprobesim.kernel.booted_between import BootedBetween

        cpus = [*self._kernel.board.cpus_on]
        if type(on) is not int or on not in cpus or len(cpus) < 2:
            raise UsageError(
                f"on={on!r}: this guest has the CPUs {cpus}, and one calls while another one "
                "stands still"
            )
        return BootedBetween(self._kernel, self._calls, self._memory, place, call, on, times)
