"""``Watching``: a program that is done at many addresses, which are no probes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.machine.code_watch import INSIDE, Watch
from kprobesim.machine.system import System
from kprobesim.programs.interpreter import interpret
from kprobesim.programs.planted import Planted
from kprobesim.programs.planting import Programs
from kprobesim.programs.program import Program
from kprobesim.programs.return_probe import ReturnProgramProbe

__all__ = ["Watching", "watch_all"]


class Watching:
    """What goes on until :meth:`end`.

    Attributes:
        stores: What the program's actions keep.
    """

    def __init__(self, machine: System, planted: Planted, watches: Sequence[Watch]) -> None:
        self._machine = machine
        self._planted = planted
        self._watches = watches
        self.stores: Sequence[Any] = planted.stores

    def end(self) -> None:
        """Nothing is done there any more; calls that were followed are forgotten."""
        for watch in self._watches:
            self._machine.code_watch.unwatch(watch)
        for p in self._planted.probes:
            if isinstance(p, ReturnProgramProbe):
                p.registered_at = None


def watch_all(
    programs: Programs, machine: System, addresses: Iterable[int], program: Program
) -> Watching:
    """Do what ``program`` says whenever the CPU comes to one of ``addresses``, or returns from it.

    Args:
        programs: Compile it.
        machine: The guest.
        addresses: Where; of functions' entries, for a program of returns.
        program: What is done; one of returns is ``shared``.

    Raises:
        UsageError: It is one of returns, and cannot be compiled (llvmlite is not installed).
    """
    every = sorted(set(addresses))
    first = every[:1]
    planted = programs.prepare(
        [f"{address:#x}" for address in first],
        program,
        many=False,
        places=[{"addr": address} for address in first],
    )
    watch, watches = machine.code_watch, list[Watch]()
    if not planted.probes:
        return Watching(machine, planted, watches)
    (one,) = planted.probes
    if one.native is None:
        if program.returns:
            raise UsageError(f"calls cannot be followed: {planted.why_not}")
        run = interpret(program, programs, planted.stores, one.count)
        watches += [
            watch.watch(address, lambda here: run(machine.regs, here), INSIDE) for address in every
        ]
        return Watching(machine, planted, watches)
    watches += [watch.watch_native(address, one.native, INSIDE) for address in every]
    if isinstance(one, ReturnProgramProbe):
        one.registered_at = one.addr
    return Watching(machine, planted, watches)
