"""``LaneCalls``: calls of one CPU's kworker, which somebody else lets run, a while at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from kprobesim.inside.calls import GuestCalls
from kprobesim.machine.faults import GuestFault

__all__ = ["LaneCalls"]


class LaneCalls(GuestCalls):
    """Those of one CPU, which stands behind :meth:`hold` where it can call."""

    def hold(self, cpu: int, timeout: float | None) -> None:
        """Let the guest run until the kworker of CPU ``cpu`` stands there, with a stack."""
        self.arrive(timeout, cpu)

    def forget(self) -> None:
        """The guest is as it was before :meth:`hold`."""
        self.restore(None)

    def begin(self, target: int, arguments: Sequence[int]) -> None:
        """The CPU, which runs, is about to execute a function's first instruction."""
        assert self._pads is not None and self._stack is not None
        self._enter(self._pads, target, arguments, self._stack)

    @property
    def has_returned(self) -> bool:
        """Whether the function has, so that :meth:`take_result` gives something."""
        return self._pads is not None and self._pads.arrived

    def take_result(self) -> int | None:
        """What the function has returned, once, if it has."""
        pads = self._pads
        if pads is None or not pads.arrived:
            return None
        pads.arrived = False
        return self._machine.regs.return_value

    def leave(self) -> None:
        """The kworker, whose CPU runs, goes on: its calls are over."""
        assert self._parked is not None
        self._parked.regs.copy().thaw(self._machine.words, self._machine.cpu)

    @property
    def task(self) -> int:
        """The kworker's ``task_struct``, behind :meth:`hold`; 0: it is not known."""
        assert self._parked is not None
        return self._parked.task or 0

    @property
    def top(self) -> int:
        """Where its functions' stack begins, behind :meth:`hold`."""
        assert self._stack is not None
        return self._stack

    @property
    def returns_to(self) -> int:
        """The address that its functions return to, behind :meth:`hold`."""
        assert self._pads is not None
        return self._pads.back

    def watching(self) -> AbstractContextManager[None]:
        """Within the block an oops of the kworker is noticed."""
        assert self._parked is not None
        return self._oops.watching(self._parked.task)

    @property
    def oops(self) -> GuestFault | None:
        """What the kworker has died of."""
        return self._oops.fault() if self._oops.seen else None
