"""The instructions of one task while a booted guest runs, and nothing else's: others run as ever.

What notes instructions is in all translated code, and costs others' code ten times its own time. So
it is taken out while the task sleeps: where the kernel leaves the task's stack, and put in again
where it has come back.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import halves
from kprobesim.kernel.returning import GuestCall, watch_calls
from kprobesim.machine.unicorn.every_instruction import EveryInstruction

if TYPE_CHECKING:
    from kprobesim.kernel.booted import BootedKernel

__all__ = ["TaskRecording"]

_SWITCHES = halves(x86_64="__switch_to_asm", arm64="cpu_switch_to")
"""What changes stacks (arch/x86/entry/entry_64.S, arch/arm64/kernel/entry.S)."""
_MOST = 32
"""So often it is taken out; translating all code anew takes longer than short sleeps do."""


class TaskRecording:
    """Lets a guest run, with the instructions of one task noted."""

    def __init__(self, kernel: BootedKernel, noted: EveryInstruction, returns: GuestCall) -> None:
        """Get ready.

        Args:
            kernel: Stands where the call ``returns`` begins.
            noted: Gets the instructions of the task that makes it.
            returns: The call: until it returns.
        """
        self._kernel = kernel
        self._noted = noted
        self._call = returns
        self._asleep = False
        self._switches = 0
        self.returned: int | None = None
        """What the call returned, once it has."""

    def run(self, seconds: float, timeout: float) -> None:
        """Run until the call returns, or that many seconds of the guest's, or of ours, are over.

        It raises what :meth:`BootedKernel.run` does.
        """
        kernel, call = self._kernel, self._call
        ends_at, deadline = kernel.time + seconds, time.monotonic() + timeout
        self._noted.only_task_of(call.sp)
        self._noted.enough = kernel.stop
        switch = kernel.symbols.get(_SWITCHES[kernel.arch])
        with ExitStack() as watched:
            machine = kernel.machine
            watched.enter_context(
                closing(watch_calls(machine, [call.address], lambda _call: False, self._came_back))
            )
            if switch is not None:
                switches = watch_calls(machine, [switch.address], self._leaves, self._is_back)
                watched.enter_context(closing(switches))
            while self.returned is None and not self._noted.full:
                asleep = self._asleep
                left = ends_at - kernel.time, deadline - time.monotonic()
                if min(left) <= 0:
                    return
                with ExitStack() as noting:
                    if not asleep:
                        noting.enter_context(self._noted)
                    kernel.run(seconds=left[0], timeout=left[1])
                if asleep is self._asleep:
                    return
                if self._asleep and switch is not None:
                    self._noted.drop_last(switch.address)  # it only came there

    def _came_back(self, again: GuestCall, value: int) -> None:
        if self.returned is None and again.sp == self._call.sp:
            self.returned = value
            self._noted.note(self._call.returns_to)
            self._kernel.stop()

    def _leaves(self, _call: GuestCall) -> bool:
        """The kernel is about to change stacks."""
        if not self._noted.notes_now or self._switches >= _MOST:
            return False
        self._switches += 1
        self._asleep = True
        self._kernel.stop()
        return True

    def _is_back(self, call: GuestCall, _previous: int) -> bool:
        """A call of what changes stacks returns: the task that made it runs again."""
        if not self._asleep or not self._noted.is_of_task(call.sp):
            return False
        self._asleep = False
        self._kernel.stop()
        return True
