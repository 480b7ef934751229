"""``BootedJudge``: what a booted kernel says itself of a run, and what the user says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kprobesim.machine.code_watch import INSIDE
from kprobesim.races.failures.failure import Callers, Failure
from kprobesim.races.failures.judging import judge_results
from kprobesim.races.lanes.run import Run
from kprobesim.races.planned import PlannedCall
from kprobesim.races.schedule import Schedule

if TYPE_CHECKING:
    from kprobesim.kernel.booted import BootedKernel

__all__ = ["BootedJudge"]

_WARN = "__warn"  # kernel/panic.c: (file, line, caller, taint, regs, args)
_CALLER = 2
_SAID = b"BUG: ", b"Internal error: Oops", b"Kernel panic"


class BootedJudge:
    """Looks at warnings and at the console, and asks the user's invariant.

    A context manager: warnings are watched within.
    """

    def __init__(
        self,
        kernel: BootedKernel,
        plan: Mapping[str, Sequence[PlannedCall]],
        invariant: Callable[[dict[str, Any]], object] | None,
        callers: Callers,
    ) -> None:
        """Have seen nothing yet.

        Args:
            kernel: The kernel.
            plan: What is called, by name.
            invariant: The user's; ``None``: there is none.
            callers: Of a trace, those within the calls.
        """
        self._kernel, self._plan, self._invariant = kernel, plan, invariant
        self._callers = callers
        self._ending = ExitStack()
        self._warning: tuple[str, int, tuple[str, ...], int] | None = None
        self._printed = 0

    def __enter__(self) -> BootedJudge:
        watch = self._kernel.machine.code_watch
        for symbol in self._kernel.symbols.candidates(_WARN):
            self._ending.callback(watch.unwatch, watch.watch(symbol.address, self._warned, INSIDE))
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def begin(self) -> None:
        """A run begins, where the guest stands."""
        self._warning, self._printed = None, len(self._kernel.console.output)

    def _warned(self, address: int) -> None:
        if self._warning is None:
            machine = self._kernel.machine
            regs = machine.regs.copy()
            caller = machine.words[machine.cpu.regs_class.ARGUMENTS[_CALLER]]
            place = machine.symbolize(int(caller))
            trace = self._callers(machine.unwind(regs))
            if place in trace:  # what is before it only tells of it
                trace = trace[trace.index(place) :]
            self._warning = place, machine.vcpu.number, tuple(trace), address

    def __call__(self, run: Run, schedule: Schedule) -> Failure | None:
        """What was wrong with a run that came to its end."""
        if self._warning is not None:
            place, cpu, trace, address = self._warning
            message = f"WARNING at {place}"
            return Failure("warning", message, schedule, cpu, trace, at=address)
        said = self._kernel.console.output[self._printed :]
        if any(mark in said for mark in _SAID):
            lines = bytes(said).decode(errors="replace").splitlines()
            line = next(one for one in lines if any(mark.decode() in one for mark in _SAID))
            return Failure("oops", line.strip(), schedule)
        return judge_results(self._invariant, self._plan, run, schedule)
