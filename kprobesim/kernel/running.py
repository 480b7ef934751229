"""``Running``: how a booted guest runs: until when, and which of its CPUs when."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from kprobesim.boot.board import Board
from kprobesim.boot.faults import GuestEnd
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.errors import ScheduleError, UsageError
from kprobesim.machine.faults import GuestStop, GuestTimeout
from kprobesim.machine.turn import in_turn

if TYPE_CHECKING:
    from kprobesim.boot.boot_schedule import BootSchedule, Tick
    from kprobesim.boot.cpu_turns import CpuTurns
    from kprobesim.boot.policy import Policy
    from kprobesim.boot.stops import StopsAt
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.interrupt_at import InterruptAt
    from kprobesim.machine.system import System

__all__ = ["Running", "Until"]

_log = logging.getLogger(__name__)

Until = str | float | Callable[["BootedKernel"], bool] | None
"""What :meth:`BootedKernel.run` waits for: a text on the console, a time, or a condition."""


class Running:
    """The part of :class:`~kprobesim.kernel.booted.BootedKernel` that lets it run."""

    if TYPE_CHECKING:
        board: Board
        machine: System

        @property
        def time(self) -> float:
            """Of the guest's."""

    @property
    def _kernel(self) -> BootedKernel:
        return cast("BootedKernel", self)

    @in_turn
    def run(
        self,
        until: Until = None,
        *,
        timeout: float | None = 60.0,
        seconds: float | None = None,
        schedule: str | BootSchedule | None = None,
    ) -> StopReason:
        """Let the guest run on.

        Args:
            until: A text that it prints from now on; or a function of this kernel that is asked
                every few milliseconds; or a number of virtual seconds, as ``seconds``; by default
                until the guest ends.
            timeout: Seconds of the host's time; ``None``: no limit.
            seconds: Virtual seconds: return then at the latest.
            schedule: Let the CPUs run as they did in another run from here: the text of its
                :attr:`schedule`, which the message of each failure holds, too. It is followed
                from now on, in later runs as well.

        Returns:
            Why it returned. The reason is false if ``until`` has not come: when ``seconds`` are
            over, or somebody has called :meth:`stop`. Without ``until`` it is false when
            ``timeout`` is over.

        Raises:
            GuestEnd: The guest ended, and ``until`` had not come.
            GuestTimeout: ``timeout`` is over, and ``until`` has not come; the guest can go on.
            BootError: :class:`GuestPanic`, :class:`GuestHang` and others: the guest cannot go on.
            UsageError: ``until`` makes no sense, or the :attr:`policy` does not.
            ScheduleError: ``schedule`` is damaged, of another kernel, or begins elsewhere; or the
                run leaves it.

        It raises whatever a handler raises, too.
        """
        if schedule is not None:
            self.follow_schedule(schedule)
        if isinstance(until, (int, float)) and not isinstance(until, bool):
            if seconds is not None:
                raise UsageError(
                    f"until={until!r} and seconds={seconds!r} are both times: give one"
                )
            until, seconds = None, until
        condition: Any = until
        if callable(until):
            ask = until

            def condition(_board: Board) -> bool:
                return ask(self._kernel)

        reason = self.board.run(condition, timeout=timeout, seconds=seconds)
        _log.info("ran until %.9f s: %s", self.time, reason)
        if until is None:
            return StopReason(reason.kind, reason.detail, missed=reason.kind is Stop.TIMEOUT)
        if reason.kind in (Stop.TEXT, Stop.CONDITION):
            return reason
        self._missed(until, reason)
        return StopReason(reason.kind, reason.detail, missed=True)

    def _missed(self, until: Until, reason: StopReason) -> None:
        """Raise for an end that nobody has asked for."""
        what = f"the text {until!r} came" if isinstance(until, str) else "the condition held"
        if self.board.ended is not None:
            self.board.fail(GuestEnd, f"the guest ended before {what}: {reason}")
        if reason.kind is Stop.TIMEOUT:
            machine = self.machine
            regs = machine.regs.copy()
            error = GuestTimeout(
                f"{reason} before {what}; the guest can go on, see timeout=",
                regs,
                machine.symbolize(regs.ip),
                machine.unwind(regs),
            )
            self._tell_schedule(error)
            raise error

    def stop(self) -> None:
        """Let :meth:`run` return at the next block of code; the guest can go on from there.

        For handlers, listeners of the console, other threads, and handlers of signals.
        """
        self.board.stop()

    # -- which CPU runs ----------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """Who chooses which CPU runs next, and for how long; by default :class:`RoundRobin`.

        To be set between two runs: to ``RoundRobin(blocks)``, ``RandomTurns(seed)``,
        ``Priorities(seed)``, the text of one of them ("random:seed=5,at=mutex_*"), or an object of
        your own (:class:`~kprobesim.boot.policy.Policy`). Probes, states and snapshots know nothing
        of it.

        Raises:
            UsageError: It is no policy, it names places that are not there, or there is one CPU.
        """
        return self._turns().policy

    @policy.setter
    def policy(self, policy: Policy | str) -> None:
        from kprobesim.boot.policy_text import parse_policy

        turns = self._turns()
        if self.board.clock.running:
            raise UsageError("the guest runs: set the policy when run() has returned")
        new = parse_policy(policy) if isinstance(policy, str) else policy
        places = self._places_of(new)
        turns.policy = new
        self._watch_places(turns, places)

    @property
    def schedule(self) -> BootSchedule:
        """Which CPU has run when, since power-on or since the state that the guest went back to.

        Its ``str()`` is a text that lets :meth:`run` do the same again. That of one CPU only has
        the interrupts of :meth:`interrupt_at`.
        """
        return self.board.recorded.schedule()

    def _tell_schedule(self, error: GuestStop) -> None:
        """Let ``error`` say how several CPUs have run."""
        text = self.board.recorded.schedule_text()
        if text:
            error.tell_schedule(text)

    def _turns(self) -> CpuTurns:
        turns = self.board.turns
        if turns is None:
            raise UsageError("this kernel has one CPU, which always runs: boot it with cpus=2")
        return turns

    def follow_schedule(self, schedule: str | BootSchedule) -> None:
        """As :meth:`run` with ``schedule``, for runs that come."""
        from kprobesim.boot.boot_schedule import BootSchedule
        from kprobesim.kernel.interrupt_at import InterruptAt

        parsed = BootSchedule.parse(schedule)
        self.board.recorded.follow(parsed)
        turns = self.board.turns
        if turns is not None:
            self._watch_places(turns, self._places_of(turns.policy))
        if self._ticks is not None:
            self._ticks.close()
        expected = sorted(parsed.ticks, key=lambda tick: tick.time)
        places = {tick.address for tick in expected}

        def is_due(tick: Tick) -> bool:
            if not expected or tick.time < expected[0].time:
                return False
            if tick != expected[0]:
                raise ScheduleError(
                    f"the run leaves the schedule: an interrupt was to come at "
                    f"{expected[0].time / 1e9} s, and the guest was elsewhere then"
                )
            expected.pop(0)
            return True

        self._ticks = InterruptAt(self.board, places, is_due) if places else None

    def _places_of(self, policy: object) -> list[int]:
        from kprobesim.kernel.switch_places import switch_places

        return switch_places(
            self._kernel, getattr(policy, "at", ()), getattr(policy, "accesses", ())
        )

    def _watch_places(self, turns: CpuTurns, places: list[int]) -> None:
        from kprobesim.boot.stops import StopsAt

        if self._switches is not None:
            self._switches.close()
        self._switches = (
            StopsAt(self.board, places, lambda _: turns.ends is not None, turns.end_turn_here)
            if places
            else None
        )

    _switches: StopsAt | None = None
    _ticks: InterruptAt | None = None

    # -- interrupts --------------------------------------------------------------------------------

    def interrupt_at(self, place: str, *, times: int = 1) -> InterruptAt:
        """Let a timer's interrupt come right before an instruction, whichever CPU executes it.

        The guest's time passes there until its next timer is due. The :attr:`schedule` holds it.
        Kernels that are called have no interrupts.

        Args:
            place: The instruction: "f", "f+0x1c" or an address in hex.
            times: How often, at most.

        Returns:
            What ends it by ``close()``, or as a context manager; its ``times`` are when they came.

        Raises:
            SymbolError: There is no such function.
            UsageError: No instruction begins there.
        """
        from kprobesim.kernel.interrupt_at import InterruptAt
        from kprobesim.kernel.switch_places import instruction_at

        if type(times) is not int or times < 1:
            raise UsageError(f"times={times!r}: give a positive number")
        made = InterruptAt(
            self.board,
            [instruction_at(self._kernel, place)],
            lambda _: len(made.times) < times,
        )
        return made
