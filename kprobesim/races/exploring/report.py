"""What a report says beyond a failure's message: the run is done again, and looked at.

At an access, or at the end of the run, each CPU that matters is asked where it stands, who called
it and which locks it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.faults import GuestStop
from kprobesim.races.conflicts.happens_before import Conflict
from kprobesim.races.conflicts.words import words_of
from kprobesim.races.failures.failure import Failure
from kprobesim.races.failures.lock_owners import LockOwners
from kprobesim.races.failures.locks import HeldLocks
from kprobesim.races.failures.standing import Standing
from kprobesim.races.failures.timeline import Timeline
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.run import Run
from kprobesim.races.run_log import LaneAccess, RunLog
from kprobesim.races.schedule import Slice
from kprobesim.races.seen import Seen

if TYPE_CHECKING:
    from kprobesim.machine.registers import PtRegs
    from kprobesim.machine.system import System

__all__ = ["Reporter"]

_LOOK = 256  # of a CPU's last accesses, for what it spins on


class _EnoughError(Exception):
    """The run has come to where it was to be looked at."""


class Reporter:
    """Looks at runs of one guest again."""

    def __init__(
        self,
        machine: System,
        image: KernelImage,
        place: Callable[..., str],
        virtual: Callable[[int], int | None],
        lines: Callable[[int], Sequence[str]],
    ) -> None:
        """Look at none yet.

        Args:
            machine: Whose CPUs run.
            image: Its kernel.
            place: Names a virtual address of data; with ``whole=True`` the lock there.
            virtual: Where a physical address is mapped.
            lines: The source lines of an instruction's address.
        """
        self._machine, self._image = machine, image
        self._place, self._virtual, self._lines = place, virtual, lines
        self._owners = LockOwners(image, machine.memory)

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
        if not (accesses or failure.at or run.stuck) and run.error is None:
            return replace(failure, timeline=timeline)  # all have made their calls
        look = _Look(self, self._machine, run, log, lanes)
        reset()
        named = partial(self._place, whole=True)
        with HeldLocks(self._machine, self._image, named, lanes.actors) as locks:
            if accesses:
                standings = look.at_accesses(accesses, locks)
            elif failure.at:
                standings = look.at_first(failure.at, failure.trace, locks)
            else:
                standings = look.at_the_end(locks, failure.trace)
        return replace(failure, standings=tuple(standings), timeline=timeline)

    def at_access(self, lanes: Lanes, seen: Seen, locks: HeldLocks) -> Standing:
        """Where the CPU that runs stands, which is about to make an access."""
        lane, what, actors = lanes.lanes[seen.cpu], _words(seen, self.value_at(seen)), lanes.actors
        found = self._standing(lanes, seen.cpu, what, self._machine.regs, actors.running(), locks)
        return replace(found, name=lane.name, step=seen.step, by=actors.now())

    def not_seen(self, lanes: Lanes, seen: Seen) -> Standing:
        """What is known of an access without looking."""
        lane, place = lanes.lanes[seen.cpu], self._machine.symbolize(seen.pc)
        lines = tuple(self._lines(seen.pc))
        return Standing(seen.cpu, lane.name, words_of(seen)[1], seen.pc, seen.step, place, lines)

    def standing(self, lanes: Lanes, cpu: int, what: str, locks: HeldLocks) -> Standing:
        """Where the calls of ``cpu`` stand, now."""
        lane, actors = lanes.lanes[cpu], lanes.actors
        who = actors.of_call(cpu)
        if lane.at is None:
            what = "has made its calls" if lane.calls else "has none to make"
            return Standing(cpu, lane.name, what, holds=locks.held(who))
        found = self._standing(lanes, cpu, what, actors.registers(cpu), who, locks)
        return found if actors.is_asleep(cpu) else replace(found, by=actors.now())

    def failing(
        self, lanes: Lanes, cpu: int, what: str, ip: int, trace: Sequence[str], locks: HeldLocks
    ) -> Standing:
        """Where ``cpu`` stood when the guest failed on it: at ``ip``, if that is not 0."""
        lane, held = lanes.lanes[cpu], locks.held(lanes.actors.of_call(cpu))
        place, *stack = trace or [self._machine.symbolize(ip)]
        lines = tuple(self._lines(ip)) if ip else ()
        return Standing(
            cpu, lane.name, what, ip, lane.executed, place, lines, tuple(stack), holds=held
        )

    def _standing(
        self,
        lanes: Lanes,
        cpu: int,
        what: str,
        regs: PtRegs,
        who: Hashable,
        locks: HeldLocks,
    ) -> Standing:
        machine, lane = self._machine, lanes.lanes[cpu]
        trace = lanes.actors.callers(machine.unwind(regs)) or [machine.symbolize(regs.ip)]
        place, *callers = trace
        return Standing(
            cpu,
            lane.name,
            what,
            regs.ip,
            lane.executed,
            place,
            tuple(self._lines(regs.ip)),
            tuple(callers),
            locks.held(who),
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
        actors = lanes.actors
        wanted = locks.wanted(actors.of_call(cpu))
        if wanted is not None:
            holders = {who: lock.holder() for who, lock in locks.holders(wanted.address)}
            if not holders:  # it was taken before the run
                task = self._owners.owner(wanted.address, wanted.taken_by)
                owner = None if task is None else actors.of_task(task)
                holders = {} if owner is None else {owner: ", from before the calls"}
            text = f"{wanted}"
            mine = actors.of_call(cpu)
            for who, since in holders.items():
                if who != mine:
                    text += f"; {self._name(lanes, who)} has it{since}"
            return text + ("; it has it itself" if mine in holders else "")
        if lanes.grace is not None and (what := lanes.grace.waits_for(cpu)):
            return what
        if actors.is_asleep(cpu):
            return "somebody who wakes it"
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

    def _name(self, lanes: Lanes, who: Hashable) -> str:
        """Who that is, for people."""
        for cpu, lane in enumerate(lanes.lanes):
            if lane.calls and lanes.actors.of_call(cpu) == who:
                return f"{lane.name} on CPU {cpu}"
        return lanes.actors.name(who)


class _Look:
    """One more run, followed to where it is looked at."""

    def __init__(
        self, reporter: Reporter, machine: System, run: Run, log: RunLog, lanes: Lanes
    ) -> None:
        self._reporter, self._machine = reporter, machine
        self._run, self._log, self._lanes = run, log, lanes

    def _slices(self) -> Iterator[Slice]:
        """Those of the run, as far as it came."""
        yield from self._run.slices
        if self._run.error is not None:
            yield Slice(self._run.error_cpu)

    def at_accesses(self, accesses: Sequence[Seen], locks: HeldLocks) -> list[Standing]:
        """At each the CPU is looked at as it comes to its instruction.

        That is known by how many accesses the run has made until then, so the slices are the same.
        """
        lanes, found = self._lanes, dict[int, Standing]()
        firsts = {seen.number: self._log.first_of(seen.number) for seen in accesses}

        def arrived(address: int) -> bool:
            for seen in accesses:
                now = firsts[seen.number] <= len(lanes.log) <= seen.number
                if now and seen.pc == address and seen.number not in found:
                    found[seen.number] = self._reporter.at_access(lanes, seen, locks)
            if len(found) == len(firsts):
                raise _EnoughError
            return False

        watch = self._machine.code_watch
        with ExitStack() as stack:
            for address in {seen.pc for seen in accesses}:
                stack.callback(watch.unwatch, watch.watch(address, arrived, INSIDE))
            self._follow(lambda _run: self._slices())
        return [found.get(seen.number) or self._reporter.not_seen(lanes, seen) for seen in accesses]

    def at_first(self, address: int, trace: Sequence[str], locks: HeldLocks) -> list[Standing]:
        """All CPUs where one of them first comes to an instruction, which warns."""
        warns: list[int] = []

        def arrived(_address: int) -> bool:
            warns.append(self._machine.vcpu.number)
            raise _EnoughError

        watch = self._machine.code_watch
        with ExitStack() as stack:
            stack.callback(watch.unwatch, watch.watch(address, arrived, INSIDE))
            self._follow(lambda _run: self._slices())
        reporter, lanes = self._reporter, self._lanes
        return [
            reporter.failing(lanes, number, "warns", 0, trace, locks)
            if number in warns
            else reporter.standing(lanes, number, "stands", locks)
            for number in range(len(lanes.lanes))
        ]

    def at_the_end(self, locks: HeldLocks, trace: Sequence[str]) -> list[Standing]:
        """All CPUs where the run has ended; ``trace`` is that of the one that failed."""
        found: list[Standing] = []

        def plan(_run: Run) -> Iterator[Slice]:
            yield from self._slices()
            look()
            raise _EnoughError

        def look() -> None:
            for cpu in range(len(self._lanes.lanes)):
                found.append(self._at_the_end(cpu, locks, trace))

        if self._follow(plan):
            look()  # the guest has failed before its slices were over
        return found

    def _at_the_end(self, cpu: int, locks: HeldLocks, trace: Sequence[str]) -> Standing:
        lanes, reporter, run = self._lanes, self._reporter, self._run
        error = run.error
        if error is not None and cpu == run.error_cpu:
            ip = error.pc if isinstance(error, GuestStop) else 0
            return reporter.failing(lanes, cpu, "fails", ip, trace, locks)
        if cpu not in run.stuck or run.endless:
            return reporter.standing(lanes, cpu, "stands", locks)
        one = reporter.standing(lanes, cpu, "waits", locks)
        return replace(one, waits_for=reporter.waits_for(lanes, cpu, locks, self._log))

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


def _words(seen: Seen, value: int) -> str:
    size = f"{seen.size} byte{'s' * (seen.size > 1)}"
    if not seen.is_store:
        return f"{words_of(seen)[1]} {size} ({value:#x})"
    new = seen.value & (1 << 8 * seen.size) - 1
    return f"{words_of(seen)[1]} {size} ({value:#x} becomes {new:#x})"
