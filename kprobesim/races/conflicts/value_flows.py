"""``ValueFlows``: whether what a CPU stores is made of what it has loaded, however far before.

The log of accesses does not say it, so the run is made again with all instructions noted; once for
each pair of instructions, as code does the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kprobesim.races.conflicts.access_kinds import Update
from kprobesim.races.conflicts.value_flow import Touch, follow
from kprobesim.races.lanes.lane_paths import LanePaths
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.run_log import RunLog
from kprobesim.races.schedule import Slice
from kprobesim.races.seen import Seen
from kprobesim.why.decode import Code

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["ValueFlows"]

_MOST_BETWEEN = 1 << 14  # instructions of one CPU from a load to a store


class ValueFlows:
    """Those of one race."""

    def __init__(
        self, machine: System, lanes: Lanes, reset: Callable[[], object], code: Code
    ) -> None:
        """Know none yet.

        Args:
            machine: Whose CPUs run.
            lanes: What runs.
            reset: Puts the guest into the state that a run begins from.
            code: The guest's instructions.
        """
        self._machine, self._lanes = machine, lanes
        self._reset, self._code = reset, code
        self._known: dict[tuple[int, int], Update] = {}
        self._run: Sequence[Slice] | None = None
        self._paths: list[list[int]] = []
        self._log = RunLog(b"", ())

    def update(self, slices: Sequence[Slice], load: Seen, store: Seen) -> Update:
        """What became of the value of ``load`` in that of ``store``, of the same CPU.

        Args:
            slices: What the run followed that both are of.
            load: The load.
            store: The store.
        """
        key = load.pc, store.pc
        found = self._known.get(key)
        if found is None:
            if store.step - load.step >= _MOST_BETWEEN:
                return Update.NONE
            if self._run is not slices:
                self._replay(slices)
            found = self._known[key] = self._follow(load, store)
        return found

    def _replay(self, slices: Sequence[Slice]) -> None:
        lanes = self._lanes
        with LanePaths(self._machine) as paths:
            self._reset()
            lanes.paths = paths
            try:
                lanes.run(lambda _run: slices)
            finally:
                lanes.paths = None
            self._paths = [paths.of(cpu) for cpu in range(len(lanes.lanes))]
        self._run, self._log = slices, lanes.run_log()

    def _follow(self, load: Seen, store: Seen) -> Update:
        path = self._paths[load.cpu][load.step : store.step + 1]
        if len(path) <= store.step - load.step or (path[0], path[-1]) != (load.pc, store.pc):
            return Update.NONE  # too long, or a handler has moved the CPU
        touched: dict[int, list[Touch]] = {}
        for access in self._log:
            if access.cpu == load.cpu and load.step <= access.step <= store.step:
                touch = access.physical, access.size, access.is_store
                touched.setdefault(access.step - load.step, []).append(touch)
        return follow(path, touched, self._code)
