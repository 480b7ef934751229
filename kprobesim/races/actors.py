"""Who acts on the CPUs of a run: the calls that are raced, and what else a kernel does there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from kprobesim.machine.registers import PtRegs
from kprobesim.races.run_log import RunLog

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["Actors", "Who"]

Who = Callable[[int, int], str]
"""Of an access, by its number in a log and its CPU: who made it; "": the CPU's call."""


class Actors:
    """Those of a kernel that is called: on each CPU there is nothing but its calls.

    Who holds a lock is told by a key: here the CPU's number.

    Attributes:
        returns_to: The address that calls return to.
    """

    def __init__(self, machine: System, returns_to: int, tasks: Sequence[int] = ()) -> None:
        """All CPUs stand.

        Args:
            machine: Whose CPUs they are.
            returns_to: The address that calls return to.
            tasks: By CPU, the address of its task, as far as there are any.
        """
        self._machine, self._tasks = machine, tasks
        self.returns_to = returns_to

    def running(self) -> Hashable:
        """The key of who acts now."""
        return self._machine.vcpu.number

    def of_call(self, cpu: int) -> Hashable:
        """The key of a CPU's call."""
        return cpu

    def of_task(self, task: int) -> Hashable | None:
        """The key of a task, by its address; ``None``: nobody's."""
        return self._tasks.index(task) if task in self._tasks else None

    def name(self, key: Hashable) -> str:
        """Who that is, for people, where it is no call."""
        return f"CPU {key}"

    def now(self) -> str:
        """Who acts now on the CPU that runs; "": its call."""
        return ""

    def of_log(self, log: RunLog) -> Who:
        """Who has made the accesses of a run, which has just come to its end."""
        return lambda _number, _cpu: ""

    def callers(self, trace: Sequence[str]) -> list[str]:
        """``trace`` without what called the call: its own return address, and what is behind."""
        end = self._machine.symbolize(self.returns_to)
        places = [each.removeprefix("? ") for each in trace]
        return [*trace[: places.index(end)]] if end in places else [*trace]

    def registers(self, cpu: int) -> PtRegs:
        """Those with which a CPU's call stands; the CPU is the one that runs from now on."""
        self._machine.switch_to(cpu)
        return self._machine.regs

    def is_asleep(self, cpu: int) -> bool:
        """Whether a CPU's call sleeps, and others run there."""
        return False
