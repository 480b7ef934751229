"""``Races``: what races need of a kernel, whether its functions are called or it has booted."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kprobesim.functions.dwarf.source_lines import (
    SourceLine,
    SourceLines,
    open_source_lines,
)
from kprobesim.kernel.arguments import Lender, code_address, give_back, pass_arguments
from kprobesim.kernel.raced_objects import raced_objects
from kprobesim.races.actors import Actors
from kprobesim.races.conflicts.access_kinds import AccessKinds
from kprobesim.races.conflicts.barriers import Barriers
from kprobesim.races.conflicts.data_races import DataRaces
from kprobesim.races.conflicts.marked import MarkedAccesses
from kprobesim.races.conflicts.value_flows import ValueFlows
from kprobesim.races.exploring.report import Reporter
from kprobesim.races.failures.typed_places import TypedPlaces
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.run import Lane
from kprobesim.races.memory.memory_order import DATAFLOW, ORDERINGS, MemoryOrder
from kprobesim.races.memory.store_buffers import StoreBuffers

if TYPE_CHECKING:
    from kprobesim.kernel.base import Kernel
    from kprobesim.kernel.between import Between
    from kprobesim.machine.ram_image import RamImage
    from kprobesim.machine.unicorn.access_log import AccessLog
    from kprobesim.races.exploring.trials import Trials
    from kprobesim.races.planned import PlannedCall

__all__ = ["Invariant", "Plan", "Races"]

Invariant = Callable[[dict[str, Any]], object]
"""Is asked for by the results of a run, by name."""
Plan = Mapping[str, "Sequence[PlannedCall]"]
"""What each CPU calls, by name."""


class Places(Protocol):
    """Names what lies in a guest's memory."""

    def name(self, address: int, *, whole: bool = False) -> str:
        """What is at an address; ``whole``: it is a lock."""

    def virtual(self, physical: int) -> int | None:
        """Where a physical address is mapped."""

    def physical_name(self, physical: int) -> str:
        """What is at a physical address."""


class Races(ABC):
    """What races need of one kernel."""

    def __init__(self, kernel: Kernel, lender: Lender, *, guard: bool) -> None:
        """Race nothing yet.

        Args:
            kernel: The kernel.
            lender: Who has memory for arguments.
            guard: It is to end where a page ends.
        """
        self._of, self._lender, self._guard = kernel, lender, guard

    @abstractmethod
    def between(self, place: tuple[str, int], call: PlannedCall, on: int, times: int) -> Between:
        """See :meth:`~kprobesim.kernel.racing.Racing.between`."""

    @abstractmethod
    def trials(
        self,
        plan: Plan,
        invariant: Invariant | None,
        data_races: bool | str = True,
        memory: MemoryOrder | None = None,
        debug: Path | None = None,
    ) -> tuple[Trials, ExitStack]:
        """Runs of ``plan``, from the state that the kernel is in; and what ends them.

        Raises:
            UsageError: A call cannot be made, or there cannot be so many CPUs.
        """

    # -- what both need ----------------------------------------------------------------------------

    def _lane(self, name: str, calls: Sequence[PlannedCall], stack: ExitStack) -> Lane:
        """What a CPU does; its arguments live until ``stack`` ends."""
        kernel, made = self._of, []
        for each in calls:
            target = code_address(each.function, kernel.symbols, kernel.machine)
            values, lent = pass_arguments(each.arguments, self._lender, self._guard)
            stack.callback(give_back, lent, self._lender)
            made.append((target, values))
        return Lane(name, made)

    def _function_at(self, pc: int) -> str:
        found = self._of.symbols.at(pc)
        return "" if found is None else found.symbol.name

    @cached_property
    def _kinds(self) -> AccessKinds:
        machine = self._of.machine
        return AccessKinds(machine.arch, machine.memory.read, self._function_at)

    def _data_races(
        self, wanted: bool | str, cpus: int, places: Places, actors: Actors, debug: Path | None
    ) -> DataRaces | None:
        if not wanted:
            return None
        machine, every = self._of.machine, wanted == "all"
        lines = self._lines(debug)
        marked = MarkedAccesses(lambda pc: [line.function for line in lines(pc)])
        return DataRaces(
            self._kinds,
            cpus,
            machine.symbolize,
            places.physical_name,
            machine.memory,
            every=every,
            marked=marked if every else None,
            actors=actors,
        )

    def _barriers(self, wanted: bool | str, log: AccessLog, stack: ExitStack) -> Barriers | None:
        """What notes barriers in the log, where data races are looked for and they tell."""
        if not wanted or not self._kinds.weak:
            return None
        return stack.enter_context(Barriers(self._of.machine, self._of.symbols, log))

    def _typed(
        self, plan: Plan, lanes: Sequence[Lane], tasks: Sequence[int], ram: RamImage
    ) -> TypedPlaces:
        """The objects whose types are known, as memory, ``ram``, is when the race begins."""
        memory = self._of.machine.memory

        def read(address: int, size: int) -> bytes:
            pieces = memory.physical(address, size)
            return b"".join(ram.read(at - memory.base, length) for at, length in pieces)

        return TypedPlaces(read, raced_objects(self._of.image, plan, lanes, tasks))

    def _flows(self, running: Lanes, reset: Callable[[], object]) -> ValueFlows:
        return ValueFlows(self._of.machine, running, reset, self._kinds.code)

    def _lines(self, debug: Path | None) -> Callable[[int], Sequence[SourceLine]]:
        """The source lines of an address, where there is debug information."""

        @cache
        def lines() -> SourceLines | None:
            return open_source_lines(self._of.image, debug)

        def lines_at(address: int) -> Sequence[SourceLine]:
            known = lines()
            return () if known is None else known.at(address)

        return lines_at

    def _reporter(self, debug: Path | None, places: Places) -> Reporter:
        kernel, lines = self._of, self._lines(debug)

        def lines_at(address: int) -> list[str]:
            return [*map(str, lines(address))]

        return Reporter(kernel.machine, kernel.image, places.name, places.virtual, lines_at)

    def _buffers(
        self, memory: MemoryOrder | None, ram: RamImage, cpus: int
    ) -> Callable[[AccessLog], StoreBuffers] | None:
        """Makes what lets CPUs see each other's stores late; ``None``: they see all at once."""
        if memory is None:
            return None
        machine, ordering = self._of.machine, ORDERINGS[self._of.arch]
        delays, fifo = self._delays(memory.delay), memory.fifo

        def make(log: AccessLog) -> StoreBuffers:
            return StoreBuffers(
                log,
                machine,
                ordering,
                delays,
                ram.read,
                cpus,
                fifo=fifo,
                dataflow=None if fifo else DATAFLOW[machine.arch],
            )

        return make

    def _delays(self, names: Sequence[str] | None) -> Callable[[int], bool]:
        """Whether the stores of an instruction at an address are those of these functions."""
        if names is None:
            return lambda _pc: True
        kernel = self._of
        for name in names:
            code_address(name, kernel.symbols, kernel.machine)
        return lambda pc: self._function_at(pc).partition(".")[0] in names

    def _what(
        self, plan: Plan, lanes: Sequence[Lane], memory: MemoryOrder | None, *more: object
    ) -> int:
        """The checksum of what is raced; ``more``: what else tells this kernel from others."""
        image = self._of.image
        kernel = image.build_id, image.version, image.arch, *more
        calls = [(lane.name, [target for target, _ in lane.calls]) for lane in lanes]
        given = [[str(each) for each in calls] for calls in plan.values()]
        described = (kernel, calls, given) if memory is None else (kernel, calls, given, memory)
        return zlib.crc32(repr(described).encode())
