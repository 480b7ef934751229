"""``Counters``: places of a guest that are counted, from its first instruction on.

Functions of the kernel are counted by programs on probes, which its rules may refuse; those of a
module, tracepoints and inlined copies by looking at their addresses, which no rule forbids. Nobody
of them changes a byte of the guest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from kprobesim.asking.counts import CountedPlace, Tally
from kprobesim.errors import ImageError, KprobeError, SymbolError, UsageError
from kprobesim.image.tables.tracepoint_sites import (
    TracepointSites,
    regfunc_of,
    sites_by_name,
    tracepoint_sites,
)
from kprobesim.inside.module_loads import StartingModule, watch_module_loads
from kprobesim.kernel.booted import BootedKernel
from kprobesim.machine.code_watch import Watch
from kprobesim.machine.unicorn.executions import Executions
from kprobesim.programs.actions import Count
from kprobesim.programs.planted import Planted
from kprobesim.programs.program import Program

__all__ = ["Counters"]

_PREPARES = "enabling it calls {}(), without which the kernel may not come to it"


class Counters:
    """Counts ``places`` of a ``kernel`` from now on, which may be before it has run."""

    def __init__(self, kernel: BootedKernel, places: Sequence[CountedPlace]) -> None:
        self._kernel = kernel
        self._watches: list[Watch] = []  # in modules
        self._waiting: list[_Counter] = []  # for their modules
        self._passed: list[_Counter] = []  # tracepoints, which modules pass, too
        self._counters = [self._counter(place) for place in places]
        if self._waiting or self._passed:
            self._watch_modules()

    def tallies(self) -> list[Tally]:
        """What was counted until now, place by place."""
        return [counter.tally() for counter in self._counters]

    def problems(self) -> list[str]:
        """Why a place is not counted, place by place; "" for those that are."""
        return [counter.problem for counter in self._counters]

    def _counter(self, place: CountedPlace) -> _Counter:
        counter = _Counter(place)
        try:
            if place.tracepoint:
                self._count_passed(counter)
            elif place.module:
                counter.problem = f"the guest has no {place.symbol}"  # until it is loaded
                self._waiting.append(counter)
            else:
                action = Program((Count(),), returns=place.returns or None)
                counter.planted = self._kernel.plant(self._address(place), action)
        except (ImageError, KprobeError, SymbolError, UsageError) as error:
            counter.problem = str(error)
        if counter.lost is not None:
            for copy in place.copies:
                self._kernel.machine.code_watch.watch_native(copy, counter.lost.native)
        return counter

    def _address(self, place: CountedPlace) -> int:
        if place.symbol is None:
            return (place.address or 0) + place.offset
        found = self._kernel.symbols.candidates(place.symbol)
        if not found:
            self._kernel.symbols[place.symbol]  # says that there is none, and what there is
        return found[0].address + place.offset  # the kernel takes the first, too

    @cached_property
    def _sites(self) -> dict[str, TracepointSites]:
        return tracepoint_sites(self._kernel.image)

    def _count_passed(self, counter: _Counter) -> None:
        """Count a tracepoint: in the kernel from now on, in modules when they are loaded."""
        place = counter.place
        sites = self._sites.get(place.name, TracepointSites(()))
        if sites.prepares:
            counter.problem = _PREPARES.format(sites.prepares)
            return
        if not sites.places and not self._kernel.symbols.candidates(f"__traceiter_{place.name}"):
            counter.problem = f"the guest has no tracepoint {place.name}"  # until it is loaded
        self._passed.append(counter)
        for address in sites.places:
            self._kernel.machine.code_watch.watch_native(address, counter.executions.native)

    def _watch(self, address: int, counter: _Counter) -> None:
        """Count a place in a module."""
        native = counter.executions.native
        self._watches.append(self._kernel.machine.code_watch.watch_native(address, native))

    # -- modules -----------------------------------------------------------------------------------

    def _watch_modules(self) -> None:
        try:
            watch_module_loads(self._kernel.machine, self._kernel.image, self._started)
        except ImageError as error:
            for counter in self._waiting:
                counter.problem = str(error)

    def _started(self, module: StartingModule) -> None:
        """Count what of ``module`` is asked for, and no more what lay where it lies now."""
        for watch in [one for one in self._watches if module.covers(one.address)]:
            self._kernel.machine.code_watch.unwatch(watch)
            self._watches.remove(watch)
        for counter in self._waiting:
            place = counter.place
            if place.module == module.name:
                address = module.address_of(place.name)
                if address is not None:
                    counter.problem = ""
                    self._watch(address + place.offset, counter)
        if self._passed:
            self._count_passed_in(module)

    def _count_passed_in(self, module: StartingModule) -> None:
        start, table = module.jump_table()
        read, btf = self._kernel.machine.memory.read, self._kernel.image.btf
        sites = sites_by_name(start, table, read)
        for counter in self._passed:
            if module.address_of(f"__traceiter_{counter.place.name}") is not None:
                counter.problem = ""
            for address, tracepoint in sites.get(counter.place.name, ()):
                self._watch(address, counter)
                function = regfunc_of(btf, read, tracepoint) if btf is not None else 0
                if function:
                    counter.problem = _PREPARES.format(module.symbol_at(function))


class _Counter:
    """What is counted at one place, by a program on a probe or by looking at addresses."""

    def __init__(self, place: CountedPlace) -> None:
        self.place = place
        self.problem = ""
        self.planted: Planted | None = None
        self.executions = Executions()
        self.lost = Executions() if place.copies else None

    def tally(self) -> Tally:
        lost = None if self.lost is None else int(self.lost)
        if self.planted is None:
            return Tally(int(self.executions), 0, lost)
        return Tally(int(self.planted.stores[0]), self.planted.nmissed, lost)
