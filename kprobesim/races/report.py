"""What a report says beyond a failure's message: the run is done again, and looked at.

At an access, or at the end of the run, each CPU that matters is asked where it stands, who called
it and which locks it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.races.access_kinds import AccessKinds, How
from kprobesim.races.failure import Failure
from kprobesim.races.happens_before import Conflict
from kprobesim.races.lanes import Lanes
from kprobesim.races.locks import HeldLocks
from kprobesim.races.run import Run, Stretch
from kprobesim.races.run_log import LaneAccess, RunLog
from kprobesim.races.schedule import Slice
from kprobesim.races.seen import Seen
from kprobesim.races.standing import Standing
from kprobesim.races.timeline import Timeline

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

__all__ = ["Reporter", "verb"]

_LOOK = 256  # of a CPU's last accesses, for what it spins on


class _EnoughError(Exception):
    """The run has come to where it was to be looked at."""


class Reporter:
    """Looks at runs of one guest again."""

    def __init__(
        self,
        machine: Machine,
        image: KernelImage,
        kinds: AccessKinds,
        place: Callable[[int], str],
        virtual: Callable[[int], int | None],
        lines: Callable[[int], Sequence[str]],
    ) -> None:
        """Look at none yet.

        Args:
            machine: Whose CPUs run.
            image: Its kernel.
            kinds: What its instructions are.
            place: Names a virtual address of data.
            virtual: Where a physical address is mapped.
            lines: The source lines of an instruction's address.
        """
        self._machine, self._image, self._kinds = machine, image, kinds
        self._place, self._virtual, self._lines = place, virtual, lines

    def complete(
        self, failure: Failure, run: Run, log: RunLog, lanes: Lanes, reset: Callable[[], object]
    ) -> Failure:
        """``failure`` with where each CPU stands.

        Args:
            failure: What was found.
            run: The run that it was found in.
            log: Its accesses.
            lanes: What runs.
            reset: Puts the guest into the state that a run begins from.
        """
        conflict, names = failure.details, [lane.name for lane in lanes.lanes]
        accesses = _accesses(conflict) if isinstance(conflict, Conflict) else []
        timeline = Timeline(run, log, names, self._machine.symbolize, accesses)
        if not accesses and run.error is None and not run.stuck:
            return replace(failure, timeline=timeline)  # all have made their calls
        look = _Look(self, run, log, lanes)
        reset()
        with HeldLocks(self._machine, self._image, self._place) as locks:
            if accesses:
                standings = look.at_accesses(accesses, locks)
            else:
                standings = look.at_the_end(locks, failure.cpu, failure.trace)
        return replace(failure, standings=tuple(standings), timeline=timeline)

    def standing(self, lanes: Lanes, cpu: int, what: str, locks: HeldLocks) -> Standing:
        """Where ``cpu`` stands, now."""
        machine, lane = self._machine, lanes.lanes[cpu]
        if lane.at is None:
            return Standing(cpu, lane.name, "has made its calls", holds=locks.held(cpu))
        machine.switch_to(cpu)
        regs = machine.regs
        place, *callers = _callers(machine.unwind(regs)) or [machine.symbolize(regs.ip)]
        return Standing(
            cpu,
            lane.name,
            what,
            regs.ip,
            lane.executed,
            place,
            tuple(self._lines(regs.ip)),
            tuple(callers),
            locks.held(cpu),
        )

    def value_at(self, seen: Seen) -> int:
        """What is at the place of an access, now."""
        memory = self._machine.memory
        offset = seen.physical - memory.base
        return int.from_bytes(memory.ram[offset : offset + seen.size], "little")

    def spun_on(self, log: RunLog, cpu: int) -> tuple[LaneAccess, LaneAccess | None] | None:
        """What ``cpu`` loads over and over in the end, and who stored to it last."""
        entries = list(log)
        mine = [entry for entry in entries if entry.cpu == cpu][-_LOOK:]
        others = {entry.physical for entry in entries if entry.cpu != cpu and entry.is_store}
        loads = Counter(
            entry.physical for entry in mine if not entry.is_store and entry.physical in others
        )
        if not loads:
            return None
        place = loads.most_common(1)[0][0]
        load = next(entry for entry in reversed(mine) if entry.physical == place)
        last = [e for e in entries if e.is_store and e.physical == place and e.cpu != cpu]
        return load, last[-1] if last else None

    def waits_for(self, lanes: Lanes, cpu: int, locks: HeldLocks, log: RunLog) -> str:
        """What ``cpu`` waits for, in words; "" if nothing is known."""
        wanted = locks.wanted(cpu)
        if wanted is not None:
            holders = [(n, lock) for n, lock in locks.holders(wanted.address) if n != cpu]
            itself = any(n == cpu for n, _ in locks.holders(wanted.address))
            text = f"{wanted}"
            for number, lock in holders:
                since = f", by {lock.taken_by}()" + (f" in {lock.taken_at}" * bool(lock.taken_at))
                text += f"; {lanes.lanes[number].name} on CPU {number} has it{since}"
            return text + ("; it has it itself" if itself else "")
        found = self.spun_on(log, cpu)
        if found is None:
            return ""
        load, store = found
        address = self._virtual(load.physical)
        what = f"{load.physical:#x} (physical)" if address is None else self._place(address)
        text = f"{what}, which it loads in {self._machine.symbolize(load.pc)}"
        if store is not None:
            name = lanes.lanes[store.cpu].name
            place = self._machine.symbolize(store.pc)
            text += f"; {name} on CPU {store.cpu} stored {store.value:#x} last, in {place}"
        return text


class _Look:
    """One more run, followed to where it is looked at."""

    def __init__(self, reporter: Reporter, run: Run, log: RunLog, lanes: Lanes) -> None:
        self._reporter, self._run, self._log, self._lanes = reporter, run, log, lanes

    def _pieces(self) -> Iterator[tuple[Stretch, Slice]]:
        """The stretches, each with the slice that it came of."""
        yield from zip(self._run.stretches, self._run.slices, strict=False)

    def at_accesses(self, accesses: Sequence[Seen], locks: HeldLocks) -> list[Standing]:
        found: list[Standing] = []

        def plan(_run: Run) -> Iterator[Slice]:
            left = list(accesses)
            for stretch, whole in self._pieces():
                done = 0
                while left and _is_in(left[0], stretch):
                    access = left.pop(0)
                    before = access.step - stretch.start - done
                    if before:
                        yield Slice(stretch.cpu, before)
                    done += before
                    text = _words(access, self._reporter.value_at(access))
                    found.append(self._reporter.standing(self._lanes, access.cpu, text, locks))
                if not left:
                    raise _EnoughError
                if not done or stretch.why == "waits":
                    yield replace(whole, steps=whole.steps and whole.steps - done)
                elif stretch.steps > done:
                    yield replace(whole, steps=stretch.steps - done)

        self._follow(plan)
        return found

    def at_the_end(
        self, locks: HeldLocks, failed: int | None, trace: Sequence[str]
    ) -> list[Standing]:
        found: list[Standing] = []
        lanes, reporter = self._lanes, self._reporter

        def plan(_run: Run) -> Iterator[Slice]:
            for _stretch, whole in self._pieces():
                yield whole
            if self._run.error is not None:
                yield Slice(self._run.error_cpu)
            look()
            raise _EnoughError

        def look() -> None:
            for cpu, lane in enumerate(lanes.lanes):
                stuck = cpu in self._run.stuck
                if cpu == failed and trace:
                    held = locks.held(cpu)
                    place, *stack = _callers(trace)
                    one = Standing(
                        cpu, lane.name, "fails", 0, 0, place, (), tuple(stack), holds=held
                    )
                    found.append(one)
                    continue
                one = reporter.standing(lanes, cpu, "waits" if stuck else "stands", locks)
                if stuck:
                    one = replace(one, waits_for=reporter.waits_for(lanes, cpu, locks, self._log))
                found.append(one)

        if self._follow(plan):
            look()  # the guest has failed before its slices were over
        return found

    def _follow(self, plan: Callable[[Run], Iterator[Slice]]) -> bool:
        """Follow ``plan``; whether the run ended on its own."""
        try:
            self._lanes.run(plan)
        except _EnoughError:
            return False
        return True


def _accesses(conflict: Conflict) -> list[Seen]:
    """Those of a conflict, in order."""
    both = [conflict.first, conflict.second]
    return both if conflict.between is None else [conflict.between, *both]


def _callers(trace: Sequence[str]) -> list[str]:
    """``trace`` without what called the call: its own return address."""
    last = len(trace) - 1 if trace and trace[-1].removeprefix("? ").startswith("0x") else len(trace)
    return [*trace[:last]]


def _is_in(seen: Seen, stretch: Stretch) -> bool:
    return (
        seen.cpu == stretch.cpu
        and stretch.first <= seen.number < stretch.end
        and stretch.start <= seen.step
    )


def verb(seen: Seen) -> str:
    """What an access does, for people."""
    if seen.how & How.ATOMIC:
        return "updates atomically"
    if seen.how & How.UPDATE:
        return "updates, not atomically,"
    if seen.how & How.FREES and seen.is_store:
        return "frees"
    verb = "stores to" if seen.is_store else "loads"
    return f"{verb}, not atomically," if seen.how & How.MANY else verb


def _words(seen: Seen, value: int) -> str:
    size = f"{seen.size} byte{'s' * (seen.size > 1)}"
    if not seen.is_store:
        return f"{verb(seen)} {size} ({value:#x})"
    new = seen.value & (1 << 8 * seen.size) - 1
    return f"{verb(seen)} {size} ({value:#x} becomes {new:#x})"
