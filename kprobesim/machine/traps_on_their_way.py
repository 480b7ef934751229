"""``TrapsOnTheirWay``: breakpoints that a CPU has come to when it lost its turn.

The CPU has fetched the breakpoint, and its handler has not looked yet what it means: meanwhile
another CPU may take it out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kprobesim.machine.system import System
    from kprobesim.machine.vcpu import Vcpu

__all__ = ["TrapsOnTheirWay"]


class TrapsOnTheirWay:
    """Of the CPUs of one system, whose turns end after so many instructions: with a ``with``.

    A breakpoint that is the last instruction of a turn is taken when the CPU has its next one.
    """

    def __init__(self, system: System) -> None:
        """Nothing is on its way, nor will be before ``with``."""
        self._system = system
        self._clients: list[tuple[Vcpu, Callable[[], bool]]] = []
        self._places: dict[int, int] = {}  # by CPU, where its program counter was

    def __enter__(self) -> TrapsOnTheirWay:
        self._places.clear()
        for vcpu in self._system.vcpus:
            holds = self._make_holds(vcpu)
            vcpu.traps.breakpoint.insert(0, holds)
            self._clients.append((vcpu, holds))
        self._system.sync_cpus = self._arrive_on_others
        return self

    def __exit__(self, *_: object) -> None:
        self._system.sync_cpus = lambda: None
        for vcpu, holds in self._clients:
            vcpu.traps.breakpoint.remove(holds)
        self._clients.clear()

    def _make_holds(self, vcpu: Vcpu) -> Callable[[], bool]:
        places, counter, words = self._places, vcpu.engine.counter_words, vcpu.words
        pc, offset = vcpu.engine.layout.pc, vcpu.cpu.isa.breakpoint_offset

        def holds() -> bool:
            """Whether the trap was the last instruction of a turn, and not of a nested call."""
            if counter[0] < counter[1] or vcpu.depth > 1 or vcpu.number in places:
                return False
            places[vcpu.number] = words[pc]
            words[pc] -= offset  # where an instruction begins, whatever is behind it
            return True

        return holds

    def arrive(self) -> None:
        """The CPU that runs goes on: with what was on its way."""
        vcpu = self._system.vcpu
        if vcpu.number in self._places:
            vcpu.words[vcpu.engine.layout.pc] = self._places[vcpu.number]
            try:
                vcpu.traps.take_breakpoint()
            finally:
                del self._places[vcpu.number]

    def _arrive_on_others(self) -> None:
        """Let all that are on their way to other CPUs arrive, also in the middle of a callback."""
        system = self._system
        running = system.vcpu.number
        for number in [number for number in self._places if number != running]:
            system.switch_to(number)
            try:
                self.arrive()
            finally:
                system.switch_to(running)
