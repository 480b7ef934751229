"""A computer that kernels boot on: how it is put together, and its state. Boards run it."""

from __future__ import annotations

import ctypes
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from kprobesim.arch.architecture import Architecture
from kprobesim.boot.console import Console
from kprobesim.boot.host_time import make_clock
from kprobesim.boot.missing_devices import MissingDevices
from kprobesim.boot.state import (
    Kind,
    Put,
    Saved,
    Text,
    fields,
    parse_fields,
    record,
    save_fields,
    wrong_state,
)
from kprobesim.boot.walked_memory import Translate, WalkedMemory
from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.cpu import make_cpu
from kprobesim.machine.cpu_state import parse_cpu, save_cpu
from kprobesim.machine.guest_ram import GuestRam, make_ram
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.exclusive_monitor import monitor_word
from kprobesim.sizes import PAGE

__all__ = ["MOST_CPUS", "MOST_PHYSICAL", "Computer"]

MOST_PHYSICAL = (1 << 40) - 1
"""What no guest's devices lie beyond; and no program's code below, but that at fixed addresses."""
MOST_CPUS = 8
"""Of any board: a GICv2 has no more interfaces."""
_MAX_COMMAND_LINE = 2047  # COMMAND_LINE_SIZE of both architectures, without the NUL

_C = TypeVar("_C", bound="Computer")


class Computer(ABC):
    """CPUs, RAM, interrupt controllers, timers and a serial console.

    ``image`` is the kernel, ``initrd`` the initial RAM disk, ``append`` the kernel's command line,
    ``memory`` the bytes of RAM, ``clock`` what its time follows ("virtual" or "host"), ``cpus`` how
    many CPUs it has (1 to 8). Raises :class:`UsageError` for what it cannot start with.
    """

    SAVED: ClassVar[Mapping[str, Kind]] = fields(append=Text(_MAX_COMMAND_LINE))
    isa: ClassVar[Architecture]
    cpu_model: ClassVar[str] = ""
    """Of the engine."""
    most_cpus: ClassVar[int] = 1
    most_memory: ClassVar[int | None] = None
    """What it takes, in bytes, if it does not take all that this host can give."""

    def __init__(
        self,
        image: KernelImage,
        *,
        initrd: bytes | None,
        append: str,
        memory: int,
        clock: str = "virtual",
        cpus: int = 1,
    ) -> None:
        self.check_arguments(initrd, append, memory, cpus)
        if image.isa is not self.isa:
            raise UsageError(
                f"{image.path} is a kernel for {image.arch}, this board is for {self.isa.name}"
            )
        self._assemble(image, make_ram(memory), append, clock, cpus)
        self.initrd_check = zlib.crc32(initrd or b"")
        self._load(initrd or b"")

    @classmethod
    def empty(
        cls: type[_C],
        image: KernelImage,
        memory: int,
        clock: str = "virtual",
        ram: GuestRam | None = None,
        cpus: int = 1,
    ) -> _C:
        """A board with ``memory`` bytes of RAM and ``cpus`` CPUs, for :meth:`load_state`.

        ``image`` is kept for symbols, and not looked at here; ``ram`` is the RAM, by default
        new and zero; it is not looked at either.
        """
        cls.check_arguments(None, "", memory, cpus)
        board = cls.__new__(cls)
        board._assemble(image, make_ram(memory) if ram is None else ram, "", clock, cpus)
        return board

    @classmethod
    def check_arguments(
        cls, initrd: object, append: object, memory: object, cpus: object = 1
    ) -> None:
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
        cls.check_cpus(cpus)
        most = cls.most_memory
        if most is not None and memory > most:
            raise UsageError(f"this board takes at most {most >> 20} MiB of memory")

    @classmethod
    def check_cpus(cls, cpus: object) -> None:
        """Raise :class:`UsageError` for a number of CPUs that no board has."""
        if type(cpus) is not int or not 1 <= cpus <= cls.most_cpus:
            raise UsageError(f"cpus {cpus!r}: give a number from 1 to {cls.most_cpus}")

    def _assemble(
        self,
        image: KernelImage,
        ram: GuestRam,
        append: str,
        clock: str,
        cpus: int,
    ) -> None:
        """Put all parts together."""
        self.initrd_check = 0
        """A checksum of what it has booted with."""
        engine = Engine(self.isa.name, self.cpu_model)
        engine.stop_between_blocks()
        engine.count_blocks()
        self.ram = ram
        base = self.isa.ram_base
        engine.map_ram(base, len(ram), ctypes.addressof(ctypes.c_char.from_buffer(self.ram)))
        access = WalkedMemory(self.ram, base, self._prepare_cpu(engine))
        self.machine = System(engine, make_cpu(engine), access)
        self.cpus = cpus
        for _ in range(1, cpus):
            self.machine.add_vcpu()
        self.image = image
        self.append = append
        self.console = Console()
        self.machine.clock = self.clock = make_clock(clock, engine)
        self.machine.stopwatch = self.clock
        self.console.now = self.clock.now
        self.missing_devices = MissingDevices(engine)
        self.turns = self._make_turns()
        self._add_devices()

    # -- what a subclass knows -------------------------------------------------------------------

    @abstractmethod
    def _prepare_cpu(self, engine: Engine) -> Translate:
        """Look into the CPU; return how it translates addresses as the guest wants it now."""

    @abstractmethod
    def _make_turns(self) -> Saved | None:
        """Who knows which CPU runs; ``None`` where there is one."""

    @abstractmethod
    def _add_devices(self) -> None:
        """Put in what else there is, and hook it to the engine."""

    @abstractmethod
    def _load(self, initrd: bytes) -> None:
        """Fill the RAM, and let the CPU stand at the kernel's first instruction."""

    @abstractmethod
    def parts(self) -> dict[str, Saved]:
        """What has a state of its own, by name."""

    @abstractmethod
    def loaded(self) -> None:
        """A state was loaded: what more must be told."""

    def settle(self) -> None:  # noqa: B027 - most boards have none
        """Take back what is in the registers of the CPU that runs without the guest's doing."""

    # -- the state ---------------------------------------------------------------------------------

    def save_state(self) -> dict[str, Any]:
        """All but the contents of :attr:`ram`, as plain data: what a board goes on from exactly.

        Dicts with texts as keys, lists, numbers below 2 ** 63, texts, bytes, booleans and ``None``.
        Raises :class:`UsageError` while the guest runs: stop it first.
        """
        self.check_stopped()
        self.settle()
        return {
            "arch": self.machine.arch,
            "memory": len(self.ram),
            "cpus": self._save_cpus(),
            "board": save_fields(self, self.SAVED),
            "parts": {name: part.save() for name, part in self._all_parts().items()},
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
        self.check_stopped()
        if isinstance(state, dict) and "cpu" in state:  # before there was a list of them
            state = {**state, "cpus": [state["cpu"]]}
            del state["cpu"]
        state = record(state, ("arch", "memory", "cpus", "board", "parts"), "the state")
        for key, own in (("arch", self.machine.arch), ("memory", len(self.ram))):
            if state[key] != own:
                raise wrong_state(f"{key} is {str(state[key])[:40]}, this board's is {own}")
        cpus = state["cpus"]
        if type(cpus) is not list or len(cpus) != self.cpus:
            own = "one CPU" if self.cpus == 1 else f"{self.cpus} CPUs"
            raise wrong_state(f"it is no state of {own}, which this board has")
        parts = self._all_parts()
        saved = record(state["parts"], parts, "parts")
        puts = [parse_fields(self, self.SAVED, state["board"], "board")]
        puts += [part.parse(saved[name], name) for name, part in parts.items()]
        registers = [parse_cpu(self.machine.engine, cpu) for cpu in cpus]

        def put() -> None:
            self.check_stopped()
            self.settle()
            for each in puts:
                each()
            machine = self.machine
            running = machine.vcpu.number
            for number in sorted(range(len(registers)), key=running.__eq__):  # that one last
                machine.switch_to(number)
                registers[number]()
            self.loaded()

        return put

    def _all_parts(self) -> dict[str, Saved]:
        turns = self.turns
        return self.parts() if turns is None else {**self.parts(), "turns": turns}

    def _save_cpus(self) -> list[dict[str, Any]]:
        machine = self.machine
        running, saved = machine.vcpu.number, dict[int, dict[str, Any]]()
        monitor = monitor_word(machine.engine)
        kept = monitor.value
        for number in sorted(range(len(machine.vcpus)), key=running.__ne__):  # that one first
            machine.switch_to(number)
            saved[number] = save_cpu(machine.engine)
        machine.switch_to(running)
        monitor.value = kept  # nobody else has run
        return [saved[number] for number in range(len(saved))]

    def check_stopped(self) -> None:
        """Raise :class:`UsageError` while the guest runs."""
        if self.clock.running:
            raise UsageError("the guest is running: its state can be had when run() has returned")

    def forget_ram_code(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Drop what was translated from these ranges of :attr:`ram`, wherever they are mapped."""
        forget = self.machine.engine.code_pages.forget
        for start, end in ranges:
            forget(start, end - start)

    def rewound(self) -> None:
        """The state of another time was loaded, and code was translated since.

        A hook on an address that nothing is mapped at assumes that nothing was translated from
        there; so before the kernel has its own page tables, all is forgotten.
        """
        engine = self.machine.engine
        areas = self.image.text_ranges
        start, end = max(areas, key=lambda area: area[1] - area[0], default=(0, 0))
        try:
            self.machine.memory.read((start + end) // 2, 1)
        except GuestMemoryError:
            if not engine.in_user_mode():
                engine.forget_all_code()
