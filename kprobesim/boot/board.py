"""The board a kernel boots on: what both architectures share, above all the run loop."""

from __future__ import annotations

import enum
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from kprobesim.boot.booted import BootedMachine
from kprobesim.boot.console import Console
from kprobesim.boot.faults import BootError, GuestHang, GuestPanic, NoDevice
from kprobesim.boot.virtual_time import VirtualTime
from kprobesim.errors import EngineError, UsageError
from kprobesim.machine.memory import PAGE

__all__ = ["MOST_PHYSICAL", "Board", "Stop", "StopReason"]

_SLICE = 1 << 20  # blocks between two looks at the host's clock: 10 to 40 ms
_SECOND = 1_000_000_000
_PANIC = b"---[ end Kernel panic"
_PATIENCE = 600.0
MOST_PHYSICAL = (1 << 40) - 1
"""What no guest's devices lie beyond; and no program's code below, but that at fixed addresses."""
_UNMAPPED = (6, 7, 8)  # Unicorn's errors: read, write, fetch of unmapped physical memory
_MAX_COMMAND_LINE = 2047  # COMMAND_LINE_SIZE of both architectures, without the NUL


class Stop(str, enum.Enum):
    """Why a board's run came to its end."""

    TEXT = "the text appeared on the console"
    CONDITION = "the condition holds"
    SECONDS = "the virtual time is over"
    TIMEOUT = "the time limit is over"
    REQUESTED = "somebody asked for it"
    POWER_OFF = "the guest switched itself off"
    RESTART = "the guest asked for a restart"
    HALT = "the guest halted for ever"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class StopReason:
    """``kind`` and, where there is more to say, ``detail``. The guest can go on after the first
    five kinds."""

    kind: Stop
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value


_FINAL = (Stop.POWER_OFF, Stop.RESTART, Stop.HALT)


class Board(ABC):
    """A computer with one CPU, RAM, an interrupt controller, a timer and a serial console.

    A subclass makes ``machine``, whose engine counts blocks, loads the kernel, and answers the
    abstract methods.
    """

    def __init__(self, machine: BootedMachine) -> None:
        self.machine = machine
        self.console = Console()
        self.clock = VirtualTime(machine.engine)
        self._ended: StopReason | None = None
        self._request: StopReason | None = None
        self._until = b""
        self._until_from = 0
        self._panicked = False
        self._missing: tuple[int, int] | None = None
        self._seen = (-1, -1)
        self._seen_at = 0
        self.patience = _PATIENCE
        """Virtual seconds without an exception or a console byte after which the guest hangs."""
        self.console.listeners.append(self._watch_console)

    @staticmethod
    def check_arguments(initrd: object, append: object, memory: object) -> None:
        """Raise :class:`UsageError` for what no board can start with."""
        if initrd is not None and not isinstance(initrd, (bytes, bytearray, memoryview)):
            raise UsageError(f"initrd is of type {type(initrd).__name__}: give bytes, or None")
        if not isinstance(append, str):
            raise UsageError(f"append is of type {type(append).__name__}: give a text")
        if "\0" in append or len(append.encode()) > _MAX_COMMAND_LINE:
            raise UsageError(
                f"append is longer than {_MAX_COMMAND_LINE} bytes or has a NUL: the kernel takes "
                "no such command line"
            )
        if not isinstance(memory, int) or memory <= 0 or memory % PAGE:
            raise UsageError(f"memory {memory!r}: give a positive multiple of {PAGE} bytes")

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
    def update_interrupts(self) -> bool:
        """Look at timers and devices, tell the CPU, and answer whether an interrupt waits.

        Called between two runs of the engine, with time standing still.
        """

    @abstractmethod
    def halted_at(self, pc: int) -> bool:
        """Whether the instruction before ``pc`` is the one that waits for an interrupt."""

    # -- running -----------------------------------------------------------------------------------

    def run(
        self,
        until: str | Callable[[Board], bool] | None = None,
        *,
        timeout: float | None = None,
        seconds: float | None = None,
    ) -> StopReason:
        """Run the guest from where it stands.

        until   : a text that it prints from now on; or a function of the board, asked between
                  slices of about a million blocks and whenever the guest idles; ``None``: until
                  the guest ends
        timeout : host seconds, looked at between slices
        seconds : virtual seconds

        Raises :class:`GuestPanic`, :class:`GuestHang`, other :class:`BootError`, and what a
        callback raised. Only a guest that is idle, or stuck, without an end is given up, after
        :attr:`patience`. Once the guest has ended, each further run gives the same reason.
        """
        condition = self._prepare(until)
        deadline = None if timeout is None else time.monotonic() + timeout
        ends_at = None if seconds is None else self.clock.now() + int(seconds * _SECOND)
        machine, engine, clock = self.machine, self.machine.engine, self.clock
        words, pc, count = engine.words, engine.layout.pc, engine.counter_words
        while self._ended is None:
            self.update_interrupts()
            if condition is not None and condition(self):
                return StopReason(Stop.CONDITION)
            if ends_at is not None and clock.now() >= ends_at:
                return StopReason(Stop.SECONDS)
            if deadline is not None and time.monotonic() >= deadline:
                return StopReason(Stop.TIMEOUT, f"{timeout:g} s")
            self._watch_progress()
            due = [when for when in (self.next_event(), ends_at) if when is not None]
            limit = clock.limit_until(min(due, default=None), _SLICE)
            clock.begin()
            try:
                status = engine.run(words[pc], limit)
            finally:
                clock.end()
            machine.raise_kept()
            if self._panicked:
                self._panicked = False
                self.fail(GuestPanic, self._panic_line())
            if self._request is not None:
                request, self._request = self._request, None
                if request.kind in _FINAL:
                    self._ended = request
                return request
            if status in _UNMAPPED:
                self._fail_without_device()
            if status:
                raise EngineError(f"Unicorn stopped at {self.place()}: {engine.describe(status)}")
            if count[0] <= count[1] and self.halted_at(words[pc]) and not self.update_interrupts():
                self._idle(ends_at)
        return self._ended

    def watch_unmapped(self, low: int, high: int) -> None:
        """Let accesses from physical ``low`` to ``high``, where there is no RAM, be told exactly:
        Unicorn stops for them only when the block is over."""
        words, pc = self.machine.engine.words, self.machine.engine.layout.pc

        def missing(address: int) -> None:
            if self._missing is None:
                self._missing = address, words[pc]

        self.machine.engine.on_unmapped(low, high, missing)

    def _fail_without_device(self) -> NoReturn:
        what = "a physical address"
        if self._missing is not None:
            address, self.machine.engine.words[self.machine.engine.layout.pc] = self._missing
            what, self._missing = f"physical address {address:#x}", None
        self.fail(NoDevice, f"the guest used {what}, where nothing is")

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

    def _panic_line(self) -> str:
        for line in reversed(self.console.tail(200).splitlines()):
            _, found, reason = line.partition("Kernel panic - not syncing: ")
            if found and _PANIC.decode() not in line:
                return f"kernel panic: {reason}"
        return "kernel panic"

    def _watch_progress(self) -> None:
        seen, now = (self.exceptions(), len(self.console.output)), self.clock.now()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        elif now - self._seen_at > self.patience * _SECOND:
            self._seen_at = now
            self.fail(
                GuestHang,
                f"the guest has made no progress for {self.patience:g} s of its time "
                "(does it wait for input?)",
            )

    def idle_for_ever(self) -> None:
        """The guest waits and no timer is running. (Typing could wake it: see ``Stop.HALT``.)"""
        self.fail(GuestHang, "the guest waits for an interrupt, and none can come")

    def stop(self, reason: StopReason | None = None) -> None:
        """End the run at the next block. For callbacks and console listeners."""
        if self._request is None:
            self._request = reason or StopReason(Stop.REQUESTED)
        self.clock.stop_run()

    def fail(self, error: type[BootError], headline: str) -> NoReturn:
        """Raise ``error`` with the place and the console's tail."""
        raise error(headline, self.place(), self.console.tail())

    def place(self) -> str:
        """Where the guest is, by symbol."""
        machine = self.machine
        return machine.symbolize(machine.words[machine.engine.layout.pc])

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
