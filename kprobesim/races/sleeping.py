"""Functions that sleep, and wake others, in a kernel that is called: there is no scheduler in it.

Who calls ``schedule()`` lets the other CPUs run and goes on behind it, as a task does that was
woken. All that sleeps in the kernel does so in a loop that looks at what it waits for, so it comes
back until that is there. Who wakes a task finds that it has done so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

__all__ = ["Asleep", "Sleeping"]

_SLEEPS = ("schedule",)
_WAKES = "try_to_wake_up", "wake_up_process", "wake_up_state"


class Asleep:
    """Whether a CPU that runs has gone to sleep.

    Attributes:
        asleep: Whether it has; who looks at it takes it back.
        wakes: Which CPU has woken others since it was cleared, and when, as ``clock`` says.
        clock: Tells the time.
    """

    def __init__(self) -> None:
        """None has."""
        self.wakes: list[tuple[int, int]] = []
        self.clock: Callable[[], int] = int
        self.asleep = False


class Sleeping(Asleep):
    """Stands in for the scheduler of one machine, as a context manager."""

    def __init__(self, machine: Machine, image: KernelImage) -> None:
        """Stand in for nobody yet."""
        super().__init__()
        self._machine, self._image = machine, image
        self._ending = ExitStack()

    def __enter__(self) -> Sleeping:
        watch = self._machine.code_watch
        for names, arrived in ((_SLEEPS, self._sleep), (_WAKES, self._wake)):
            for name in names:
                found = self._image.symbols.candidates(name)
                if len(found) == 1:
                    client = watch.watch(found[0].address, arrived, INSIDE)
                    self._ending.callback(watch.unwatch, client)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _sleep(self, _address: int) -> bool:
        machine = self._machine
        self.asleep = True
        machine.vcpu.return_to_caller()
        machine.engine.stop()
        machine.engine.leave_block()
        return True

    def _wake(self, _address: int) -> bool:
        self.wakes.append((self.clock(), self._machine.vcpu.number))
        self._machine.vcpu.return_to_caller(1)
        self._machine.engine.leave_block()
        return True
