"""The board a kernel boots on: what both architectures share, above all the run loop."""

from __future__ import annotations

import enum
import mmap
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypeVar

from kprobesim.boot.booted import BootedMachine
from kprobesim.boot.console import Console
from kprobesim.boot.faults import BootError, GuestHang, GuestPanic, NoDevice
from kprobesim.boot.host_time import make_clock
from kprobesim.boot.lacks import lacks
from kprobesim.boot.progress import Progress
from kprobesim.boot.saved import (
    Kind,
    Maybe,
    Number,
    Parts,
    Put,
    Saved,
    Text,
    Tuples,
    fields,
    parse_fields,
    record,
    save_fields,
    wrong_state,
)
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.cpu_state import parse_cpu, save_cpu
from kprobesim.machine.memory import PAGE

__all__ = ["MOST_PHYSICAL", "Board", "Stop", "StopReason"]

_SLICE = 1 << 20  # blocks between two looks at the host's clock: 10 to 40 ms
_SECOND = 1_000_000_000
_LAST_WORDS = _SECOND // 4  # for what a panic prints
_PANICS = "panic", "vpanic"
_MOST_PANICS = 8
_PANICKING = re.compile(rf"(\? )?({'|'.join(_PANICS)})\+")
_PANIC = b"---[ end Kernel panic"
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


class _Ending(Kind):
    """A :class:`StopReason`."""

    def plain(self, value: StopReason) -> list[str]:
        return [value.kind.name, value.detail]

    def parse(self, plain: Any, where: str) -> StopReason:
        if type(plain) is not list or [type(text) for text in plain] != [str, str]:
            raise wrong_state(f"{where} is no list of two texts")
        if plain[0] not in Stop.__members__:
            raise wrong_state(f"{where} has an unknown reason")
        return StopReason(Stop[plain[0]], plain[1])


_B = TypeVar("_B", bound="Board")
_FINAL = (Stop.POWER_OFF, Stop.RESTART, Stop.HALT)


class Board(ABC):
    """A computer with one CPU, RAM, an interrupt controller, a timer and a serial console.

    A subclass makes ``machine``, whose engine counts blocks, loads the kernel ``image``, whose
    command line is ``append``, and answers the abstract methods.
    """

    SAVED: ClassVar[Mapping[str, Kind]] = fields(
        append=Text(_MAX_COMMAND_LINE),
        _ended=Maybe(_Ending()),
        progress=Parts(Progress.SAVED),
        _panicking_at=Maybe(Number(63)),
        _panic_functions=Tuples(_MOST_PANICS, (64,)),
    )
    ram: mmap.mmap

    def __init__(
        self, machine: BootedMachine, image: KernelImage, append: str, clock: str = "virtual"
    ) -> None:
        self.machine = machine
        self.image = image
        self.append = append
        self.console = Console()
        self.clock = make_clock(clock, machine.engine)
        self._ended: StopReason | None = None
        self._request: StopReason | None = None
        self._until = b""
        self._until_from = 0
        self._panicked = False
        self._missing: tuple[int, int] | None = None
        self._forget_code = False
        self.progress = Progress()
        self.console.listeners.append(self._watch_console)
        self._panicking_at: int | None = None
        self._panic_functions: list[tuple[int, ...]] = []
        self._watched: set[int] = set()

    @classmethod
    def empty(cls: type[_B], image: KernelImage, memory: int, clock: str = "virtual") -> _B:
        """A board with ``memory`` bytes of RAM that are all zero, for :meth:`load_state`.

        ``image`` is kept for symbols, and not looked at here.
        """
        cls.check_arguments(None, "", memory)
        board = cls.__new__(cls)
        board._assemble(image, memory, "", clock)
        return board

    def _find_panic_functions(self) -> None:
        """A kernel that panics before it has a console is noticed by its own function for that."""
        if self.image.has_symbols:
            found = [symbol for name in _PANICS for symbol in self.image.symbols.candidates(name)]
            self._panic_functions = [(symbol.address,) for symbol in found[:_MOST_PANICS]]
        self._watch_panics()

    def _watch_panics(self) -> None:
        for (address,) in self._panic_functions:
            if address not in self._watched:
                self._watched.add(address)
                self.machine.engine.on_code(address, self._note_panic)

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

    @abstractmethod
    def halted_at(self, pc: int) -> bool:
        """Whether the instruction before ``pc`` is the one that waits for an interrupt."""

    @abstractmethod
    def loaded(self) -> None:
        """A state was loaded: what more the CPU must be told."""

    @abstractmethod
    def _assemble(self, image: KernelImage, memory: int, append: str, clock: str) -> None:
        """Put the board together, and call this class' constructor."""

    @abstractmethod
    def parts(self) -> dict[str, Saved]:
        """What has a state of its own, by name."""

    # -- the state ---------------------------------------------------------------------------------

    def save_state(self) -> dict[str, Any]:
        """All but the contents of :attr:`ram`, as plain data: what a board goes on from exactly.

        Dicts with texts as keys, lists, numbers below 2 ** 63, texts, bytes, booleans and ``None``.
        Raises :class:`UsageError` while the guest runs: stop it first.
        """
        self._check_stopped()
        return {
            "arch": self.machine.arch,
            "memory": len(self.ram),
            "cpu": save_cpu(self.machine.engine),
            "board": save_fields(self, self.SAVED),
            "parts": {name: part.save() for name, part in self.parts().items()},
        }

    def load_state(self, state: object) -> None:
        """Be as the board was that gave ``state``, once :attr:`ram` holds what its RAM held.

        Raises :class:`UsageError` for the state of another kind of board, of another memory size,
        or a damaged one; then nothing has changed.
        """
        self.parse_state(state)()

    def parse_state(self, state: object) -> Put:
        """Check ``state`` as :meth:`load_state` does; what is returned puts it in force.

        That can be done as often as needed. Code that was translated from what the RAM held before
        is not forgotten.
        """
        self._check_stopped()
        state = record(state, ("arch", "memory", "cpu", "board", "parts"), "the state")
        for key, own in (("arch", self.machine.arch), ("memory", len(self.ram))):
            if state[key] != own:
                raise wrong_state(f"{key} is {str(state[key])[:40]}, this board's is {own}")
        parts = self.parts()
        saved = record(state["parts"], parts, "parts")
        puts = [part.parse(saved[name], name) for name, part in parts.items()]
        puts.append(parse_fields(self, self.SAVED, state["board"], "board"))
        puts.append(parse_cpu(self.machine.engine, state["cpu"]))

        def put() -> None:
            self._check_stopped()
            self._request, self._panicked = None, False
            for each in puts:
                each()
            self._watch_panics()
            self.loaded()

        return put

    def _check_stopped(self) -> None:
        if self.clock.running:
            raise UsageError("the guest is running: its state can be had when run() has returned")

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
        what :attr:`progress` says. Once the guest has ended, each further run gives the same
        reason.
        """
        condition = self._prepare(until)
        deadline = None if timeout is None else time.monotonic() + timeout
        ends_at = None if seconds is None else self.clock.now() + int(seconds * _SECOND)
        machine, engine, clock = self.machine, self.machine.engine, self.clock
        words, pc, count = engine.words, engine.layout.pc, engine.counter_words
        while self._ended is None:
            if clock.wait is not None:
                clock.wait(0)
            self.update_interrupts()
            if condition is not None and condition(self):
                return StopReason(Stop.CONDITION)
            if ends_at is not None and clock.now() >= ends_at:
                return StopReason(Stop.SECONDS)
            if deadline is not None and time.monotonic() >= deadline:
                return StopReason(Stop.TIMEOUT, f"{timeout:g} s")
            due = [when for when in (self.next_event(), ends_at) if when is not None]
            limit = clock.limit_until(min(due, default=None), _SLICE)
            clock.begin()
            try:
                status = engine.run(words[pc], limit)
            finally:
                clock.end()
            if self._forget_code:
                self._forget_code = False
                engine.forget_all_code()
            machine.raise_kept()
            if self._panicked:
                self._panicked, self._panicking_at = False, None
                self.fail(GuestPanic, self._panic_line())
            if self._request is not None:
                request, self._request = self._request, None
                if request.kind in _FINAL:
                    self._ended = request
                    if self._panicking_at is not None:
                        self.fail(GuestPanic, self._panic_line())
                return request
            if status in _UNMAPPED:
                self._fail_without_device()
            if status:
                self.fail(BootError, f"the emulator gave up: {engine.describe(status)}")
            self._watch_progress()
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
        self.progress.idled(self.clock.now())

    def _panic_line(self) -> str:
        for line in reversed(self.console.tail(200).splitlines()):
            _, found, reason = line.partition("Kernel panic - not syncing: ")
            if found and _PANIC.decode() not in line:
                return f"kernel panic: {reason}"
        return "kernel panic, which the console does not show"

    def _note_panic(self, _uc: object, _address: int, _size: int, _data: object) -> None:
        try:
            if self._panicking_at is None:
                self._panicking_at = self.clock.now()
                self.clock.hasten(self._panicking_at + _LAST_WORDS)
        except BaseException as error:
            self.machine.keep(error)

    def _watch_progress(self) -> None:
        seen = self.exceptions(), len(self.console.output)
        in_kernel, interrupts = self.mode()
        why = self.progress.look(self.clock.now(), seen, in_kernel=in_kernel, interrupts=interrupts)
        if why is not None:
            self.fail(GuestHang, why)
        panic = self._panicking_at
        if panic is not None and self.clock.now() - panic > _LAST_WORDS:
            self._panicking_at = None
            self.fail(GuestPanic, self._panic_line())

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
        """End the run at the next block. For callbacks and console listeners."""
        if self._request is None:
            self._request = reason or StopReason(Stop.REQUESTED)
        self.clock.stop_run()

    def fail(self, error: type[BootError], headline: str) -> NoReturn:
        """Raise ``error`` with the place, the call trace and the console's tail."""
        machine = self.machine
        regs = machine.regs.copy()
        trace = machine.unwind(regs)
        place = machine.symbolize(regs.ip)
        panic = next((n for n, entry in enumerate(trace) if _PANICKING.match(entry)), None)
        if error is GuestPanic and panic is not None:
            trace = trace[panic:]  # what panic() called only prints, or waits for ever
            place = trace[0].removeprefix("? ")
        hints = lacks(self.image, self.append, silent=not self.console.output.strip())
        raise error(headline, regs, place, trace, self.console.tail(), hints)

    def _watch_console(self, data: bytes) -> None:
        output = self.console.output
        if self._until:
            start = max(self._until_from, len(output) - len(data) - len(self._until) + 1)
            if output.find(self._until, start) >= 0:
                text, self._until = self._until.decode(), b""
                self.stop(StopReason(Stop.TEXT, text))
        if b"\n" in data and output.find(_PANIC, max(0, len(output) - len(data) - 200)) >= 0:
            self._panicked = True
            self.clock.stop_run()
