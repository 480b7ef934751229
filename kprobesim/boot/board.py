"""The run loop of the boards that kernels boot on."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from kprobesim.boot.computer import Computer
from kprobesim.boot.cpu_turns import CpuTurns
from kprobesim.boot.failing import failure_of
from kprobesim.boot.faults import BootError, GuestHang, GuestPanic, NoDevice
from kprobesim.boot.hang import Progress
from kprobesim.boot.hits_on_their_way import HitsOnTheirWay
from kprobesim.boot.one_cpu import OneCpu
from kprobesim.boot.panics import PanicWatch, panic_in_trace, panic_line, panic_reason
from kprobesim.boot.state import Maybe, Parts, fields
from kprobesim.boot.stop import Ending, Stop, StopReason
from kprobesim.boot.stops import Pauses
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.guest_ram import GuestRam
from kprobesim.machine.signals import signals
from kprobesim.machine.stopwatch import BLOCK_NS
from kprobesim.machine.turn import HandlerOverstayed, is_alone

__all__ = ["Board"]

_SLICE = 1 << 18  # blocks between two looks at the host: 1 to 20 ms
_LOOK_NS = _SLICE * BLOCK_NS  # of the guest's time, between two looks at it
_SECOND = 1_000_000_000
_PANIC = b"---[ end Kernel panic"
_FINAL = (Stop.POWER_OFF, Stop.RESTART, Stop.HALT)


class Board(Computer):
    """A computer that runs: until something happens, or comes to a bad end."""

    SAVED = fields(
        **Computer.SAVED,
        _ended=Maybe(Ending()),
        progress=Parts(Progress.SAVED),
        panics=Parts(PanicWatch.SAVED),
    )

    turns: CpuTurns | None
    """Whose turn it is; ``None`` where there is one CPU."""

    recorded: CpuTurns | OneCpu
    """What the schedule of the run is made of."""

    def _assemble(
        self, image: KernelImage, ram: GuestRam, append: str, clock: str, cpus: int
    ) -> None:
        self._ended: StopReason | None = None
        self._request: StopReason | None = None
        self._until, self._until_from = b"", 0
        self._panicked = False
        self.pauses = Pauses(self)
        self.progress = Progress()
        self.to_prepare: list[Callable[[], object]] = []
        """What is called once, when the guest is about to run: what a state needs nothing of."""
        super()._assemble(image, ram, append, clock, cpus)
        self.hits = HitsOnTheirWay(self)
        self.console.listeners.append(self._watch_console)
        self.machine.turn.stop_soon = self.clock.stop_run
        self.panics = PanicWatch(self.machine.code_watch, self.clock)

    def _make_turns(self) -> CpuTurns | None:
        turns = CpuTurns(self) if self.cpus > 1 else None
        self.recorded = turns or OneCpu(self)
        return turns

    @property
    def ended(self) -> StopReason | None:
        """Why the guest ended, if it did."""
        return self._ended

    @property
    def time(self) -> float:
        """Virtual seconds since power-on."""
        return self.clock.now() / _SECOND

    # -- what a subclass knows -------------------------------------------------------------------

    @abstractmethod
    def next_event(self) -> int | None:
        """When the next timer is due, in virtual nanoseconds; ``None``: no timer is running."""

    @abstractmethod
    def exceptions(self) -> int:
        """How many synchronous exceptions (system calls, faults) the guest has taken."""

    @abstractmethod
    def mode(self) -> tuple[bool, bool]:
        """Whether the CPU is in the kernel, and whether it takes interrupts."""

    @abstractmethod
    def update_interrupts(self) -> bool:
        """Look at timers and devices, tell the CPU, and answer whether an interrupt waits.

        Called between two runs of the engine, with time standing still.
        """

    def advance(self) -> None:
        """Of several CPUs: let the timers and devices of all raise what is due now."""

    def wants(self, number: int) -> bool:
        """Of several CPUs: whether an interrupt waits that wakes CPU ``number`` from its halt."""
        raise NotImplementedError

    def leaving(self) -> None:
        """Of several CPUs: another one runs from now on; take back what this one was offered."""
        self.settle()

    def entered(self) -> None:
        """Of several CPUs: this one runs from now on."""

    @abstractmethod
    def halted_at(self, pc: int) -> bool:
        """Whether the instruction before ``pc`` is the one that waits for an interrupt."""

    def loaded(self) -> None:
        """A state was loaded: nothing is asked for, and that time's panic functions are watched."""
        self._request, self._panicked = None, False
        self.pauses.forget()
        self.recorded.begin_anew()
        self.panics.watch()

    # -- running -----------------------------------------------------------------------------------

    def run(
        self,
        until: str | Callable[[Board], bool] | None = None,
        *,
        timeout: float | None = None,
        seconds: float | None = None,
    ) -> StopReason:
        """Run the guest from where it stands.

        until   : a text that it prints from now on; or a function of the board, asked every 2 ms
                  of the guest's time and whenever it idles; ``None``: until the guest ends
        timeout : host seconds, looked at between slices
        seconds : virtual seconds

        Raises :class:`GuestPanic`, :class:`GuestHang`, other :class:`BootError`, and what a
        callback raised. Only a guest that is idle, or stuck, without an end is given up, after
        what :attr:`progress` says. Once the guest has ended, each further run gives the same
        reason.
        """
        with self.machine.turn:
            return self._run(until, timeout, seconds)

    def _run(
        self,
        until: str | Callable[[Board], bool] | None,
        timeout: float | None,
        seconds: float | None,
    ) -> StopReason:
        while self.to_prepare:
            self.to_prepare.pop()()
        self.recorded.note_origin()
        turn = self.machine.turn
        outer = turn.deadline, turn.level
        turn.level = turn.count
        turn.deadline = None if timeout is None else time.monotonic() + timeout
        try:
            return self._run_until(until, timeout, seconds)
        except HandlerOverstayed:
            return StopReason(Stop.TIMEOUT, f"{timeout or 0:g} s, in a handler")
        finally:
            turn.deadline, turn.level = outer

    def _run_until(
        self,
        until: str | Callable[[Board], bool] | None,
        timeout: float | None,
        seconds: float | None,
    ) -> StopReason:
        condition = self._prepare(until)
        deadline = None if timeout is None else time.monotonic() + timeout
        ends_at = None if seconds is None else self.clock.now() + int(seconds * _SECOND)
        machine, engine, clock = self.machine, self.machine.engine, self.clock
        words, pc, count = engine.words, engine.layout.pc, engine.counter_words
        turns, pauses, awake, asks = self.turns, self.pauses, True, True
        while self._ended is None:
            if pauses.wanted:
                self._meanwhile(pauses)
            if signals.pending:
                machine.turn.deliver()
            if machine.turn.wanted and not machine.vcpu.hit_state.is_stepping:
                machine.turn.lend()
            if clock.wait is not None:
                clock.wait(0)
            if turns is None:
                self.update_interrupts()
            else:
                self.advance()
                awake = turns.choose()
            if condition is not None and (asks or not awake) and condition(self):
                return StopReason(Stop.CONDITION)
            if ends_at is not None and clock.now() >= ends_at:
                return StopReason(Stop.SECONDS)
            if deadline is not None and time.monotonic() >= deadline:
                return StopReason(Stop.TIMEOUT, f"{timeout:g} s")
            if not awake:
                self._idle(ends_at)
                if self._request is not None:
                    return self._take_request(self._request)
                continue
            looks_at = clock.now() // _LOOK_NS * _LOOK_NS + _LOOK_NS
            turn_ends = None if turns is None else turns.ends
            due = looks_at
            for when in (self.next_event(), ends_at, turn_ends):
                if when is not None and when < due:
                    due = when
            ended = self._execute(clock.limit_until(due, _SLICE))
            if ended is not None:
                return ended
            # The host may have cut the run anywhere: who looks, looks at times of the guest's.
            now = clock.now()
            asks = now >= looks_at
            if asks or (turn_ends is not None and now >= turn_ends):
                self._watch_progress()
            if not pauses.wanted and count[0] <= count[1] and self.halted_at(words[pc]):
                if turns is not None:
                    turns.halt()
                elif not self.update_interrupts():
                    self._idle(ends_at)
                    asks = True
        return self._ended

    def _execute(self, limit: int) -> StopReason | None:
        """Let the engine run, and look at what has come of it: why the run ends, if it does."""
        machine, engine, clock = self.machine, self.machine.engine, self.clock
        clock.begin()
        try:
            status = engine.run(engine.words[engine.layout.pc], limit, holding=is_alone())
        except BaseException:
            machine.vcpu.abandon_hit()
            raise
        finally:
            clock.end()
        if self._panicked:
            self._panicked = False
            self.panics.forget()
            self.fail(GuestPanic, panic_line(self.console))
        if self._request is not None:
            return self._take_request(self._request)
        missing = self.missing_devices.take(status)
        if missing:
            self.fail(NoDevice, f"the guest used {missing}, where nothing is")
        if status:
            self.fail(BootError, f"the emulator gave up: {engine.describe(status)}")
        return None

    def run_slice(self, most: int) -> StopReason | None:
        """Of several CPUs: let the one that runs execute so much, or until a timer is due."""
        self.update_interrupts()
        ended = self._execute(self.clock.limit_until(self.next_event(), most))
        count, limit = self.machine.engine.counter
        if self.pauses.wanted:
            self._meanwhile(self.pauses)
        elif count <= limit and self.turns is not None and self.halted_at(self.machine.regs.ip):
            self.turns.halt()
        return ended

    def _meanwhile(self, pauses: Pauses) -> None:
        """Do what the run has paused for, which may let the guest run itself."""
        until, self._until = (self._until, self._until_from), b""
        try:
            pauses.do()
        finally:
            self._until, self._until_from = until

    def _take_request(self, request: StopReason) -> StopReason:
        """The run ends as :meth:`stop` was told."""
        self._request = None
        if request.kind in _FINAL:
            self._ended = request
            if self.panics.panicking or panic_reason(self.console):
                self.fail(GuestPanic, panic_line(self.console))
        return request

    def _prepare(
        self, until: str | Callable[[Board], bool] | None
    ) -> Callable[[Board], bool] | None:
        self._until, self._until_from = b"", len(self.console.output)
        if isinstance(until, str):
            if not until:
                raise UsageError("the text to wait for is empty")
            self._until = until.encode()
            return None
        if until is not None and not callable(until):
            raise UsageError(f"until is of type {type(until).__name__}: give a text or a function")
        return until

    def _idle(self, ends_at: int | None) -> None:
        """Time goes straight to the next event."""
        event = self.next_event()
        if ends_at is not None and (event is None or ends_at <= event):
            self.clock.jump(ends_at)
        elif event is None:
            self.idle_for_ever()
        else:
            self.clock.jump(event)
        self.progress.idled(self.clock.now())

    def _watch_progress(self) -> None:
        turns, now = self.turns, self.clock.now()
        if turns is not None:
            number = turns.running
            if not turns.calm[number].is_looked_at(now):
                return
            self.progress.of_cpu(number, turns.calm[number])
        seen = self.exceptions(), len(self.console.output)
        in_kernel, interrupts = self.mode()
        why = self.progress.look(now, seen, in_kernel=in_kernel, interrupts=interrupts)
        if why is not None:
            self.fail(GuestHang, why)
        if self.panics.is_suspicious(self.console):
            self.panics.look_for(self.image)
            if panic_in_trace(self.machine.unwind(self.machine.regs.copy())) is not None:
                self.fail(GuestPanic, panic_line(self.console))
        if self.panics.is_over:
            self.panics.forget()
            self.fail(GuestPanic, panic_line(self.console))

    def interrupted(self, number: int) -> None:
        """CPU ``number`` takes an interrupt: until now it had them on."""
        now = self.clock.now()
        if self.turns is None:
            self.progress.interrupted(now)
        else:
            self.turns.calm[number].interruptible_at = now

    def awake(self) -> None:
        """Between two runs: the CPU that runs was given something to do, and waits no more."""
        if self.turns is not None:
            self.turns.awake()

    @property
    def cpus_on(self) -> Sequence[int]:
        """The numbers of the CPUs that are on."""
        return (0,) if self.turns is None else [n for n, on in enumerate(self.turns.on) if on]

    def each_cpu(self) -> Iterator[int]:
        """Between two runs: each CPU that is on, as the one that runs; the present one first.

        Who ends the iteration early leaves it so.
        """
        return iter((0,)) if self.turns is None else self.turns.each()

    def attend(self, wait: Callable[[float], object] | None) -> None:
        """Somebody types: ``wait(seconds)`` waits so long for keys, at most, and sends them.

        It is called while the guest idles, and with 0 between two slices. From now on no guest
        that waits is given up. ``None``: nobody types any more.
        """
        self.clock.wait = wait
        self.progress = Progress()
        if wait is not None:
            self.progress.never_give_up()

    def idle_for_ever(self) -> None:
        """The guest waits and no timer is running: only a key can wake it."""
        if self.clock.wait is not None:
            self.clock.jump(self.clock.now() + _SECOND)
            return
        self.fail(GuestHang, "the guest waits for an interrupt, and none can come")

    def stop(self, reason: StopReason | None = None) -> None:
        """End the run: at the next block, for callbacks and console listeners.

        From another thread it takes until the end of the current slice, some milliseconds.
        """
        if self._request is None:
            self._request = reason or StopReason(Stop.REQUESTED)
        if self.machine.turn.is_mine:
            self.clock.stop_run()  # from another thread it would shift the guest's time

    def fail(self, error: type[BootError], headline: str) -> NoReturn:
        """Raise ``error`` with the place, the call trace and the console's tail."""
        raise failure_of(self, error, headline)

    def _watch_console(self, data: bytes) -> None:
        output = self.console.output
        if self._until and self._until[-1] in data:
            start = max(self._until_from, len(output) - len(data) - len(self._until) + 1)
            if output.find(self._until, start) >= 0:
                text, self._until = self._until.decode(), b""
                self.stop(StopReason(Stop.TEXT, text))
        if b"\n" in data and output.find(_PANIC, max(0, len(output) - len(data) - 200)) >= 0:
            self._panicked = True
            self.clock.stop_run()


signals.boundaries |= {Board._execute.__code__, Board._run_until.__code__}
