"""A PC that boots an x86-64 kernel: local APICs, two 8259A, an 8254, a clock, one serial port."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.architecture import X86_64
from kprobesim.boot.board import Board
from kprobesim.boot.computer import MOST_CPUS, MOST_PHYSICAL
from kprobesim.boot.faults import GuestReset
from kprobesim.boot.state import Put, Saved
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.boot.walked_memory import Translate
from kprobesim.boot.x86_64 import start
from kprobesim.boot.x86_64.acpi import PowerPorts, write_tables
from kprobesim.boot.x86_64.apic_pages import map_apics
from kprobesim.boot.x86_64.cmos import Cmos
from kprobesim.boot.x86_64.cpuid import LEAVES, make_cpuid, native_cpuid
from kprobesim.boot.x86_64.exceptions import SYSCALL, Exceptions, TripleFault
from kprobesim.boot.x86_64.interrupt_input import InterruptInput, OfferedInput, PolledInput
from kprobesim.boot.x86_64.interrupts import Interrupts
from kprobesim.boot.x86_64.lapic import LocalApic
from kprobesim.boot.x86_64.msr import ApicMsrs
from kprobesim.boot.x86_64.old_state import has_apics, with_apic_parts
from kprobesim.boot.x86_64.pci import PciPorts
from kprobesim.boot.x86_64.pic import PicPair
from kprobesim.boot.x86_64.pit import Pit
from kprobesim.boot.x86_64.startup import Startup
from kprobesim.boot.x86_64.state import HF_CPL, X86State, find_state
from kprobesim.boot.x86_64.syscall import make_syscall
from kprobesim.boot.x86_64.uart16550 import Uart16550
from kprobesim.boot.x86_64.walk import Walk
from kprobesim.errors import UsageError
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.intercepts import make_intercepts

__all__ = ["X86Board"]

_COM1, _COM1_IRQ = 0x3F8, 4
_KEYBOARD, _PULSE_RESET = 0x64, 0xFE
_HLT = 0xF4
_IF, _PAGING = 0x200, 1 << 31
_PORT_NS = 512  # an access to a timer's port takes about half a microsecond on a PC
_FIRST_INTERRUPT = 32
_MOST_MEMORY = 0xE000_0000

_In = Callable[[int, int], int]
_Out = Callable[[int, int, int], None]


class X86Board(Board):
    """A PC; see :class:`~kprobesim.boot.computer.Computer` for its arguments."""

    isa = X86_64
    cpu_model = "qemu64"
    most_cpus = MOST_CPUS
    most_memory = _MOST_MEMORY

    def _prepare_cpu(self, engine: Engine) -> Translate:
        at_reset = engine.new_context()
        self._native = {
            leaf: native_cpuid(engine, self.ram, start.SCRATCH, leaf) for leaf in LEAVES
        }
        self.state = find_state(engine)
        self.startup = Startup(engine, self.state, at_reset)
        self._walk = Walk(self.state, memoryview(self.ram).cast("Q"), engine.code_pages)
        return self._walk.translate

    def _load(self, initrd: bytes) -> None:
        write_tables(self.ram, self.cpus if self.interrupts.has_apics else 0)
        start.load(self.ram, self.image, initrd, self.append)
        start.start(self.machine.engine, self.image)

    def _add_devices(self) -> None:
        engine = self.machine.engine
        memory = self.machine.memory
        memory.read_u64 = self._walk.reader(memory.read_u64)  # type: ignore[method-assign, assignment]
        self.entry = Exceptions(engine, self.state, self._walk)
        for vcpu in self.machine.vcpus:
            vcpu.traps.deliver = self._deliver
        self.pit = Pit(self._port_time)
        self.interrupts = Interrupts(self.cpus, self.clock.now, self.pit)
        self.interrupts.told, self.interrupts.on_init = self._told, self._initialised
        self.interrupts.taken = self.interrupted
        self.pic = self.interrupts.pic
        self.input = self._make_input(engine)
        self.cmos = Cmos(self.clock.now)
        self.uart = Uart16550(self.console, self._uart_interrupt)
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
        for port in (*self.pic.PORTS, *self.pit.PORTS):
            self._outputs[port] = self._write_controller
        for port in self.pic.PORTS:
            self._inputs[port] = self._read_pic
        for port in range(_COM1, _COM1 + 8):
            self._inputs[port], self._outputs[port] = self.uart.read, self.uart.write
        hooks = engine.hooks
        hooks.on_ports(self._in, self._out)
        hooks.on_read_tsc(self.clock.read, self.clock.native_reads())
        hooks.on_syscall(make_syscall(engine, self.state, self.entry.counts))
        map_apics(hooks, self.interrupts, self._lapic, self.input.settle, self._changed)
        self.missing_devices.watch(len(self.ram), MOST_PHYSICAL)
        hooks.on_cpuid(make_cpuid(engine, self.state, self._native, self.cpus, self._apic_id))
        at = X86State.eflags.offset
        self._saved_flags = [vcpu.context.word(at) for vcpu in self.machine.vcpus]

    def _make_input(self, engine: Engine) -> InterruptInput:
        """The interrupt input of the CPU; where it is polled there are no APICs."""
        intercepts = make_intercepts(engine)
        if intercepts is None:
            if self.cpus > 1:
                raise UsageError("no function of this Unicorn's can be replaced here: give one CPU")
            self.interrupts.has_apics = False
            return PolledInput(self.interrupts, self.state, self._interrupt)
        offered = OfferedInput(intercepts, self.interrupts, self.state, self.entry.counts)
        msrs = ApicMsrs(self._lapic, self._changed)
        intercepts.answer_msrs(msrs.RANGES, msrs.read, msrs.write)
        return offered

    def _lapic(self) -> LocalApic | None:
        """That of the CPU that runs, which has settled with it."""
        if not self.interrupts.has_apics:
            return None
        self.input.settle()
        return self.interrupts.lapics[self.input.cpu]

    def _apic_id(self) -> tuple[int, bool] | None:
        lapic = self._lapic()
        return None if lapic is None else (lapic.number, lapic.is_enabled)

    def parts(self) -> dict[str, Saved]:
        """What has a state of its own, by name."""
        return {
            "console": self.console,
            "clock": self.clock,
            "interrupts": self.interrupts,
            "pic": self.pic,
            "ioapic": self.interrupts.ioapic,
            **{f"lapic{lapic.number}": lapic for lapic in self.interrupts.lapics},
            "pit": self.pit,
            "cmos": self.cmos,
            "uart": self.uart,
            "pci": self.pci,
            "power": self.power,
            "exceptions": self.entry,
        }

    def parse_state(self, state: object) -> Put:
        """As in :class:`~kprobesim.boot.computer.Computer`, also from when there were no APICs."""
        put = super().parse_state(with_apic_parts(state, self.parts()))
        if isinstance(self.input, PolledInput) and has_apics(state):
            raise UsageError(
                "this guest has local APICs, for which functions of Unicorn's must be replaced: "
                "that cannot be done on this computer"
            )
        return put

    def settle(self) -> None:
        """Nothing of interrupts is left in the engine."""
        self.input.withdraw()

    def loaded(self) -> None:
        """A state was loaded: the CPU that runs is another one."""
        self.entered()
        super().loaded()

    # -- several CPUs ----------------------------------------------------------------------------

    def entered(self) -> None:
        """The interrupt input is that of the CPU that runs."""
        self.input.cpu = self.machine.vcpu.number

    def advance(self) -> None:
        """Let timers interrupt, and CPUs begin that were started."""
        self.input.settle()
        self.interrupts.advance()
        if self.interrupts.starting:
            self._start_cpus()

    def _start_cpus(self) -> None:
        turns, machine = self.turns, self.machine
        running = machine.vcpu.number
        self.leaving()
        for cpu, page in self.interrupts.starting:
            machine.switch_to(cpu)
            self.startup.begin(page)
            if turns is not None:
                turns.power_on(cpu)
        self.interrupts.starting.clear()
        machine.switch_to(running)

    def _initialised(self, cpu: int) -> None:
        if self.turns is not None and self.turns.on[cpu]:
            self.turns.power_off(cpu)

    def _told(self, cpu: int) -> None:
        """A CPU has been sent a message: if it does not run, it may have been woken."""
        if cpu != self.input.cpu:
            self.clock.stop_run()

    def _takes_interrupts(self, cpu: int) -> bool:
        running = cpu == self.machine.vcpu.number
        return bool((self.state.eflags if running else self._saved_flags[cpu].value) & _IF)

    def wants(self, number: int) -> bool:
        """Whether an NMI waits for CPU ``number``, or an interrupt that it takes."""
        interrupts = self.interrupts
        if interrupts.lapics[number].nmi:
            return True
        return interrupts.pending(number) >= 0 and self._takes_interrupts(number)

    # -- exceptions and interrupts ---------------------------------------------------------------

    def _deliver(self, vector: int) -> None:
        try:
            self.entry.deliver(vector)
        except TripleFault as fault:
            self.fail(GuestReset, str(fault))

    def _interrupt(self, vector: int) -> None:
        try:
            self.entry.interrupt(vector)
        except TripleFault as fault:
            self.fail(GuestReset, str(fault))

    def exceptions(self) -> int:
        """How many faults, traps and system calls the guest has taken."""
        counts = self.entry.counts
        return sum(counts[:_FIRST_INTERRUPT]) + counts[SYSCALL]

    def update_interrupts(self) -> bool:
        """Let the CPU have the interrupt that waits; whether it takes it at once."""
        if self.turns is None:
            self.advance()
        return self.input.update()

    def mode(self) -> tuple[bool, bool]:
        """Whether the CPU is in ring 0, and whether IF is set."""
        return not self.state.hflags & HF_CPL, bool(self.state.eflags & _IF)

    def next_event(self) -> int | None:
        """The timers' next interrupt; or when to look again whether the CPU takes one."""
        event, look_at = self.interrupts.next_event(), self.input.look_at
        if look_at is None:
            return event
        return look_at if event is None else min(event, look_at)

    def halted_at(self, pc: int) -> bool:
        """Whether HLT is before ``pc``."""
        self.input.halted()
        state = self.state
        at = self._walk.physical(pc - 1) if state.cr[0] & _PAGING else state.cs_base + pc - 1
        return at is not None and at < len(self.ram) and self.ram[at] == _HLT

    def _idle(self, ends_at: int | None) -> None:
        on = range(1) if self.turns is None else [n for n in range(self.cpus) if self.turns.on[n]]
        if any(self._takes_interrupts(cpu) for cpu in on):
            super()._idle(ends_at)
        else:
            self._ended = StopReason(Stop.HALT, "HLT with interrupts off")

    def _uart_interrupt(self, level: bool) -> None:
        self.input.settle()
        self.interrupts.set_irq(_COM1_IRQ, level)
        if self.input.has_changed():
            self.clock.stop_run()

    def _changed(self) -> None:
        """A controller or a timer was written to."""
        if self.input.has_changed():
            self.clock.stop_run()
        event = self.interrupts.next_event()
        if event is not None:
            self.clock.hasten(event)

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

    def _read_pic(self, port: int, size: int) -> int:
        self.input.settle()
        return self.pic.read(port, size)

    def _write_controller(self, port: int, size: int, value: int) -> None:
        """Of interrupts, or the timer."""
        self.input.settle()
        (self.pic if port in PicPair.PORTS else self.pit).write(port, size, value)
        self._changed()

    def _keyboard(self, _port: int, _size: int, value: int) -> None:
        if value == _PULSE_RESET:
            self.stop(StopReason(Stop.RESTART, "through the keyboard controller"))
