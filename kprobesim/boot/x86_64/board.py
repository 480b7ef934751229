"""A PC that boots an x86-64 kernel: one CPU, two 8259A, an 8254, a clock, one serial port."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.architecture import X86_64
from kprobesim.boot.board import Board
from kprobesim.boot.computer import MOST_PHYSICAL
from kprobesim.boot.faults import GuestReset
from kprobesim.boot.state import Maybe, Number, Saved, fields
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.boot.walked_memory import Translate
from kprobesim.boot.x86_64 import start
from kprobesim.boot.x86_64.acpi import PowerPorts, write_tables
from kprobesim.boot.x86_64.cmos import Cmos
from kprobesim.boot.x86_64.cpuid import make_cpuid, native_cpuid
from kprobesim.boot.x86_64.exceptions import SYSCALL, Exceptions, TripleFault
from kprobesim.boot.x86_64.pci import PciPorts
from kprobesim.boot.x86_64.pic import PicPair
from kprobesim.boot.x86_64.pit import Pit
from kprobesim.boot.x86_64.state import HF_CPL, HF_INHIBIT_IRQ, find_state
from kprobesim.boot.x86_64.syscall import make_syscall
from kprobesim.boot.x86_64.uart16550 import Uart16550
from kprobesim.boot.x86_64.walk import Walk
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import MASK64

__all__ = ["X86Board"]

_COM1, _COM1_IRQ, _TIMER_IRQ = 0x3F8, 4, 0
_KEYBOARD, _PULSE_RESET = 0x64, 0xFE
_HLT = 0xF4
_IF = 0x200
_SOON_NS = 400  # how long an interrupt waits until it is looked again whether it may come ...
_LATE_NS = 100 * _SOON_NS  # ... each time twice as long, up to this
_PORT_NS = 512  # an access to a timer's port takes about half a microsecond on a PC
_FIRST_INTERRUPT = 32
_DEVICES = 0xFEC0_0000, 0x0140_0000  # where PCs have APICs, HPET, flash: nothing is there
_MOST_MEMORY = 0xE000_0000

_In = Callable[[int, int], int]
_Out = Callable[[int, int, int], None]


class X86Board(Board):
    """A PC; see :class:`~kprobesim.boot.computer.Computer` for its arguments."""

    SAVED = fields(**Board.SAVED, _look_at=Maybe(Number(63)), _soon=Number(63))
    isa = X86_64
    cpu_model = "qemu64"
    most_memory = _MOST_MEMORY

    def _prepare_cpu(self, engine: Engine) -> Translate:
        self._features = native_cpuid(engine, self.ram, start.SCRATCH, 1)
        self.state = find_state(engine)
        self._walk = Walk(self.state, memoryview(self.ram).cast("Q"), engine.code_pages)
        return self._walk.translate

    def _load(self, initrd: bytes) -> None:
        write_tables(self.ram)
        start.load(self.ram, self.image, initrd, self.append)
        start.start(self.machine.engine, self.image)

    def _add_devices(self) -> None:
        engine = self.machine.engine
        memory = self.machine.memory
        memory.read_u64 = self._walk.reader(memory.read_u64)  # type: ignore[method-assign, assignment]
        self.entry = Exceptions(engine, self.state, self._walk)
        self.machine.vcpu.traps.deliver = self._deliver
        self.pic = PicPair()
        self.pit = Pit(self._port_time)
        self.cmos = Cmos(self.clock.now)
        self.uart = Uart16550(self.console, self._uart_interrupt)
        self._look_at: int | None = None
        """When to look again whether the CPU takes the interrupt that waits. A time and not a
        number of runs: where the host interrupts the guest must not be seen by it."""
        self._soon = _SOON_NS
        self._inputs: dict[int, _In] = {}
        self._outputs: dict[int, _Out] = {_KEYBOARD: self._keyboard}
        self.pci = PciPorts()
        self.power = PowerPorts(
            lambda: self.stop(StopReason(Stop.POWER_OFF)),
            lambda: self.stop(StopReason(Stop.RESTART)),
        )
        for device in (self.pic, self.pit, self.cmos, self.pci, self.power):
            for port in device.PORTS:
                self._inputs[port], self._outputs[port] = device.read, device.write
        for port in range(_COM1, _COM1 + 8):
            self._inputs[port], self._outputs[port] = self.uart.read, self.uart.write
        hooks = engine.hooks
        hooks.on_ports(self._in, self._out)
        hooks.on_read_tsc(self.clock.read, self.clock.native_reads())
        hooks.on_syscall(make_syscall(engine, self.state, self.entry.counts))
        hooks.map_device(*_DEVICES, lambda *_: MASK64, lambda *_: None)
        self.watch_unmapped(len(self.ram), MOST_PHYSICAL)
        hooks.on_cpuid(make_cpuid(engine, self.state, self._features))

    def parts(self) -> dict[str, Saved]:
        """What has a state of its own, by name."""
        return {
            "console": self.console,
            "clock": self.clock,
            "pic": self.pic,
            "pit": self.pit,
            "cmos": self.cmos,
            "uart": self.uart,
            "pci": self.pci,
            "power": self.power,
            "exceptions": self.entry,
        }

    # -- exceptions and interrupts ---------------------------------------------------------------

    def _deliver(self, vector: int) -> None:
        try:
            self.entry.deliver(vector)
        except TripleFault as fault:
            self.fail(GuestReset, str(fault))

    def exceptions(self) -> int:
        """How many faults, traps and system calls the guest has taken."""
        counts = self.entry.counts
        return sum(counts[:_FIRST_INTERRUPT]) + counts[SYSCALL]

    def update_interrupts(self) -> bool:
        """Deliver the interrupt that waits, if the CPU takes it now."""
        # As in other virtual machines a tick waits for the one before it: none gets lost.
        if not self.pic.is_requested(_TIMER_IRQ) and self.pit.advance(self.clock.now()):
            self.pic.set_line(_TIMER_IRQ, False)
            self.pic.set_line(_TIMER_IRQ, True)
        now = self.clock.now()
        if not self.pic.pending():
            self._look_at, self._soon = None, _SOON_NS
            return False
        if self._look_at is not None and now < self._look_at:
            return False
        state = self.state
        if not state.eflags & _IF:
            self._look_at = now + self._soon
            self._soon = min(2 * self._soon, _LATE_NS)
        elif state.hflags & HF_INHIBIT_IRQ:  # for one instruction, after STI or MOV SS
            self._look_at = now + 1
        else:
            self._look_at, self._soon = None, _SOON_NS
            try:
                self.entry.interrupt(self.pic.acknowledge())
            except TripleFault as fault:
                self.fail(GuestReset, str(fault))
        return self._look_at is None

    def mode(self) -> tuple[bool, bool]:
        """Whether the CPU is in ring 0, and whether IF is set."""
        return not self.state.hflags & HF_CPL, bool(self.state.eflags & _IF)

    def next_event(self) -> int | None:
        """The timer's next edge; or when to look again whether the CPU takes the interrupt."""
        edge = None if self.pic.is_requested(_TIMER_IRQ) else self.pit.next_edge
        if self._look_at is None:
            return edge
        return self._look_at if edge is None else min(edge, self._look_at)

    def halted_at(self, pc: int) -> bool:
        """Whether HLT is before ``pc``: then an interrupt is taken at once."""
        self._look_at = None
        at = self._walk.physical(pc - 1)
        return at is not None and at < len(self.ram) and self.ram[at] == _HLT

    def _idle(self, ends_at: int | None) -> None:
        if self.state.eflags & _IF:
            super()._idle(ends_at)
        else:
            self._ended = StopReason(Stop.HALT, "HLT with interrupts off")

    def _uart_interrupt(self, level: bool) -> None:
        self.pic.set_line(_COM1_IRQ, level)
        self._look()

    def _look(self) -> None:
        """A device has changed its line: take the interrupt at the next block."""
        if self.pic.pending():
            self.clock.stop_run()

    # -- ports -----------------------------------------------------------------------------------

    def _port_time(self) -> int:
        self.clock.spend(_PORT_NS)
        return self.clock.now()

    def _in(self, port: int, size: int) -> int:
        device = self._inputs.get(port)
        return device(port, size) if device is not None else (1 << 8 * size) - 1

    def _out(self, port: int, size: int, value: int) -> None:
        device = self._outputs.get(port)
        if device is not None:
            device(port, size, value)
            if port in PicPair.PORTS or port in (0x40, 0x43):
                self._reschedule()

    def _reschedule(self) -> None:
        self._look()
        edge = self.pit.next_edge
        if edge is not None:
            self.clock.hasten(edge)

    def _keyboard(self, _port: int, _size: int, value: int) -> None:
        if value == _PULSE_RESET:
            self.stop(StopReason(Stop.RESTART, "through the keyboard controller"))
