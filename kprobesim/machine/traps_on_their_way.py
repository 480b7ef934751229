"""``TrapsOnTheirWay``: breakpoints that a CPU has come to when it lost its turn, and who waits.

The CPU has fetched the breakpoint, and its handler has not looked yet what it means: meanwhile
another CPU may take it out. Who patches code waits for the others (``text_poke_sync()``,
``stop_machine()``), and who unregisters a probe for a grace period (``synchronize_rcu()``): while a
hit is handled interrupts are masked and nothing is preempted, so both wait until it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kprobesim.machine.system import System
    from kprobesim.machine.vcpu import Vcpu

__all__ = ["TrapsOnTheirWay"]

_MOST = 1 << 20
"""Times that a CPU goes on for who waits: a REP instruction in a copy takes many."""


class TrapsOnTheirWay:
    """Of the CPUs of one system, whose turns end after so many instructions or blocks.

    A breakpoint that is in the last instruction, or block, of a turn is taken when the CPU has its
    next one: with a ``with``, or between :meth:`begin` and :meth:`end`.
    """

    def __init__(
        self,
        system: System,
        go_on: Callable[[], object] | None,
        switch_to: Callable[[int], object],
        planted: Callable[[], Container[int]] | None = None,
    ) -> None:
        """Nothing is on its way, nor will be before :meth:`begin`.

        Args:
            system: The CPUs.
            go_on: Lets the CPU that runs execute an instruction, or a block, also from a callback
                in the middle of another one's; ``None``: who waits does so for traps only.
            switch_to: Lets a CPU be the one that runs.
            planted: Where breakpoints are that may be on their way; ``None``: everywhere.
        """
        self._system, self._go_on, self._switch_to = system, go_on, switch_to
        self._planted = planted
        self._clients: list[tuple[Vcpu, Callable[[], bool]]] = []
        self._places: dict[int, tuple[int, int]] = {}  # by CPU: its pc, and what is masked
        self._waiting: set[int] = set()  # CPUs whose handlers wait for others

    def __enter__(self) -> TrapsOnTheirWay:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        """From now on traps may be on their way."""
        self._places.clear()
        self._waiting.clear()
        several = len(self._system.vcpus) > 1
        for vcpu in self._system.vcpus if several else ():
            holds = self._make_holds(vcpu)
            vcpu.traps.breakpoint.insert(0, holds)
            self._clients.append((vcpu, holds))
        system = self._system
        system.sync_cpus, system.leave_code = self._finish_others, self._leave_code
        system.has_turns = True

    def end(self) -> None:
        """No longer; what is on its way never arrives."""
        system = self._system
        while system.background:
            self._go_on_in_background()
        system.sync_cpus, system.leave_code = lambda: None, lambda start, end: None
        system.has_turns = False
        for vcpu, holds in self._clients:
            vcpu.traps.breakpoint.remove(holds)
        self._clients.clear()

    @property
    def on_their_way(self) -> tuple[int, ...]:
        """The CPUs that have come to a breakpoint whose handler has not looked yet."""
        return tuple(self._places)

    def _make_holds(self, vcpu: Vcpu) -> Callable[[], bool]:
        places, counter, words = self._places, vcpu.engine.counter_words, vcpu.words
        layout, offset = vcpu.engine.layout, vcpu.cpu.isa.breakpoint_offset
        pc, flags = layout.pc, layout.flags
        mask, masked = vcpu.cpu.step_flags(single_step=False)
        unmasked, planted = ~mask, self._planted

        def holds() -> bool:
            """Whether the trap was the last one of a turn, and not of a nested call."""
            if counter[0] < counter[1] or vcpu.depth > 1 or vcpu.number in places:
                return False
            at = words[pc] - offset
            if planted is not None and at not in planted() and not vcpu.hit_state.is_stepping:
                return False
            places[vcpu.number] = words[pc], words[flags] & mask
            words[pc] = at  # where an instruction begins, whatever is behind it
            words[flags] = words[flags] & unmasked | masked  # the trap does so
            return True

        return holds

    def arrive(self) -> None:
        """The CPU that runs goes on: with what was on its way.

        What a handler raises is raised; the CPU's hit is over then.
        """
        if self._system.background:
            self._go_on_in_background()
        self._arrive()

    def _go_on_in_background(self) -> None:
        work = self._system.background
        work[:] = [each for each in work if not each()]

    def _arrive(self) -> None:
        vcpu = self._system.vcpu
        place = self._places.get(vcpu.number)
        if place is None:
            return
        words, layout = vcpu.words, vcpu.engine.layout
        mask, _ = vcpu.cpu.step_flags(single_step=False)
        words[layout.pc], masked = place
        words[layout.flags] = words[layout.flags] & ~mask | masked
        vcpu.arriving = True
        try:
            vcpu.traps.take_breakpoint()
        except BaseException:
            vcpu.abandon_hit()
            raise
        finally:
            vcpu.arriving = False
            del self._places[vcpu.number]

    def _finish_others(self) -> None:
        """Let the hits that are on their way on other CPUs come to their end, also in a callback.

        Not those of handlers that wait themselves: whose CPU they run on comes back to them.
        """
        for vcpu in self._others():
            if vcpu.number in self._places or vcpu.hit_state.is_stepping:
                self._finish(vcpu, lambda vcpu: vcpu.hit_state.is_stepping)

    def _leave_code(self, start: int, end: int) -> None:
        """Let those that stand there go on until they do not."""

        def stands(vcpu: Vcpu) -> bool:
            return start <= vcpu.words[vcpu.engine.layout.pc] < end

        for vcpu in self._others():
            if start <= vcpu.saved_regs().ip < end:
                self._finish(vcpu, stands)

    def _others(self) -> list[Vcpu]:
        system, here = self._system, self._system.vcpu
        runs = system.engine.running or here.in_handler
        return [
            vcpu
            for vcpu in system.vcpus
            if vcpu.number not in self._waiting and not (runs and vcpu is here)
        ]

    def _finish(self, vcpu: Vcpu, goes_on: Callable[[Vcpu], bool]) -> None:
        here = self._system.vcpu
        if vcpu is not here:
            self._waiting.add(here.number)
            self._switch_to(vcpu.number)
        try:
            for _ in range(_MOST):
                self._arrive()
                if self._go_on is None or not goes_on(vcpu):
                    break
                self._go_on()
        except BaseException:
            vcpu.abandon_hit()
            raise
        finally:
            if vcpu is not here:
                self._switch_to(here.number)
                self._waiting.discard(here.number)
