"""Functions that sleep, and wake others, in a kernel that is called: there is no scheduler in it.

Who calls ``schedule()`` lets the other CPUs run. One that is to sleep (its ``task_struct.__state``
says so) goes on behind it when another CPU has woken its task; one that is not, or that would not
sleep longer than a time, goes on when its turn comes. Where types are not known every one does: all
that sleeps in the kernel does so in a loop that looks at what it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.races.lanes.stand_in import argument, return_at_once
from kprobesim.sizes import MASK32

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

__all__ = ["Asleep", "Sleeping"]

_SCHEDULES = "schedule", "schedule_rtlock", "rt_mutex_schedule"
"""Those of PREEMPT_RT's locks have been functions of their own since 5.15 and 6.6."""
_NORMAL = 3  # TASK_NORMAL: TASK_INTERRUPTIBLE and TASK_UNINTERRUPTIBLE
_FOR_EVER = {"schedule_timeout": (1 << 63) - 1, "schedule_hrtimeout_range_clock": 0}
"""Functions that sleep for a time, and what their first argument is where that is no time."""


class Asleep:
    """Whether the CPU that runs has gone to sleep, where the kernel's own scheduler runs.

    Attributes:
        asleep: Whether the CPU that ran has gone to sleep; who looks at it takes it back.
        wakes: Which CPU has woken which others since it was cleared, and when, as ``clock`` says.
        clock: Tells the time.
    """

    def __init__(self) -> None:
        """Nobody sleeps."""
        self.wakes: list[tuple[int, int, Sequence[int]]] = []
        self.clock: Callable[[], int] = int
        self.asleep = False

    def reset(self) -> None:
        """A run begins."""
        self.wakes.clear()
        self.asleep = False

    def sleeps(self, _number: int) -> bool:
        """Whether a CPU has nothing to do before another one wakes it, for sure."""
        return False


class Sleeping(Asleep):
    """Stands in for the scheduler of one machine, as a context manager.

    Attributes:
        tasks: The address of each CPU's task.
    """

    def __init__(
        self, machine: Machine, image: KernelImage, tasks: Sequence[int], state: int | None
    ) -> None:
        """Stand in for nobody yet.

        Args:
            machine: The machine.
            image: Its kernel.
            tasks: The address of each CPU's task.
            state: Where in a task its state is; ``None``: it is not known.
        """
        super().__init__()
        self._machine, self._image, self.tasks, self._state = machine, image, tasks, state
        self._ending = ExitStack()
        self._sleepers: set[int] = set()
        self._timed: set[int] = set()

    def __enter__(self) -> Sleeping:
        watch = self._machine.code_watch
        clients: Mapping[str, Callable[[int], bool]] = {
            **dict.fromkeys(_SCHEDULES, self._sleep),
            "rt_mutex_setprio": self._return,
            "try_to_wake_up": self._wake,
            "wake_up_state": self._wake,
            "wake_up_process": self._wake_process,
            **{name: self._arrived_to_wait(limit) for name, limit in _FOR_EVER.items()},
        }
        for name, arrived in clients.items():
            found = self._image.symbols.candidates(name)
            if len(found) == 1:
                client = watch.watch(found[0].address, arrived, INSIDE)
                self._ending.callback(watch.unwatch, client)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def reset(self) -> None:
        """Nobody sleeps, nobody was woken."""
        self.wakes.clear()
        self._sleepers.clear()
        self._timed.clear()
        self.asleep = False

    def sleeps(self, cpu: int) -> bool:
        """Whether ``cpu`` cannot go on before somebody wakes it."""
        return cpu in self._sleepers

    def _sleep(self, _address: int) -> bool:
        machine, cpu = self._machine, self._machine.vcpu.number
        if self._state is not None and cpu < len(self.tasks):
            place = self.tasks[cpu] + self._state
            if cpu in self._timed:
                machine.memory.write(place, bytes(4))  # its time is over
                self._timed.discard(cpu)
            elif machine.memory.read_u64(place) & MASK32:
                self._sleepers.add(cpu)
        self.asleep = True
        machine.vcpu.return_to_caller()
        machine.engine.stop()
        machine.engine.leave_block()
        return True

    def _arrived_to_wait(self, for_ever: int) -> Callable[[int], bool]:
        def arrived(_address: int) -> bool:
            if argument(self._machine, 0) != for_ever:
                self._timed.add(self._machine.vcpu.number)
            return False

        return arrived

    def _wake_process(self, _address: int) -> bool:
        return self._wake_in(_NORMAL)

    def _wake(self, _address: int) -> bool:
        return self._wake_in(argument(self._machine, 1) & MASK32)

    def _wake_in(self, states: int) -> bool:
        """Wake the task of the first argument, if it is in one of ``states``."""
        machine, task = self._machine, argument(self._machine, 0)
        others = [cpu for cpu, each in enumerate(self.tasks) if each == task]
        woken = True
        if self._state is not None and others:
            woken = bool(machine.memory.read_u64(task + self._state) & states)
            if woken:
                machine.memory.write(task + self._state, bytes(4))
                self._sleepers.difference_update(others)
        self.wakes.append((self.clock(), machine.vcpu.number, others or range(len(self.tasks))))
        return return_at_once(machine, int(woken))

    def _return(self, _address: int) -> bool:
        """Whom others wait for is given their priority, where there is a scheduler to know it."""
        return return_at_once(self._machine)
