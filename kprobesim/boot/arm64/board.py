"""The ARM64 board: puts its parts together, loads the kernel, and answers what traps."""

from __future__ import annotations

import struct
from functools import cached_property

from kprobesim.arch.architecture import ARM64
from kprobesim.arch.arm64.system_registers import CNTHCTL_EL2, HCR_EL2, SCR_EL3, VMPIDR_EL2
from kprobesim.boot.arm64.exceptions import ExceptionEntry
from kprobesim.boot.arm64.gic import Gic
from kprobesim.boot.arm64.id_registers import HCR_TID3, PAGES_16K, IdRegisters
from kprobesim.boot.arm64.kernel_hooks import KernelHooks
from kprobesim.boot.arm64.pl011 import Pl011
from kprobesim.boot.arm64.psci import Psci
from kprobesim.boot.arm64.timer import Timer
from kprobesim.boot.arm64.timers import Timers
from kprobesim.boot.arm64.translation import walker
from kprobesim.boot.arm64.tree import (
    GIC_SIZE,
    GICC_BASE,
    GICD_BASE,
    PL011_BASE,
    PL011_SIZE,
    TIMER_PPI,
    UART_SPI,
    device_tree,
)
from kprobesim.boot.board import Board
from kprobesim.boot.computer import MOST_CPUS, MOST_PHYSICAL
from kprobesim.boot.cpu_turns import CpuTurns
from kprobesim.boot.faults import GuestReset
from kprobesim.boot.state import Saved
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.boot.walked_memory import Translate
from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.unicorn.context import Context
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import MASK32, MASK64, page_up

__all__ = ["Arm64Board"]

_RAM = ARM64.ram_base
_ALIGN = 2 << 20  # of the kernel, and the most a device tree may span
_HEADER = struct.Struct("<16xQQ24x4s4x")  # image_size, flags, magic
_PAGES_16K = 2

_SCR = 0x531  # NS, RES1, HCE, RW: without it Unicorn takes EL1 for AArch32
_HCR, _HCR_IRQ = 1 << 31 | 1 << 4, 1 << 7  # RW IMO; VI: a virtual interrupt waits
_PSTATE_EL1H = 0x3C5
_MASKED = 0x80  # PSTATE.I
_MPIDR_RES1 = 1 << 31

_UNDEFINED, _SMC = 1, 13  # Unicorn's exception numbers
_SYSTEM_REGISTER = 0x18  # exception class of a trapped MRS or MSR
_WFI = b"\x7f\x20\x03\xd5"
_KNOWN_EXCEPTIONS = (1, 2, 3, 4, 7, 11)


class Arm64Board(Board):
    """Cortex-A72s at EL1 with GICv2, PL011, timers and PSCI by SMC.

    See :class:`~kprobesim.boot.computer.Computer` for its arguments.
    """

    isa = ARM64
    most_cpus = MOST_CPUS

    def _prepare_cpu(self, engine: Engine) -> Translate:
        return walker(engine, self.ram, _RAM)

    def _add_devices(self) -> None:
        engine = self.machine.engine
        self._words, self._pc = engine.words, engine.layout.pc
        self._syndrome = engine.fields["esr"]
        self._write_hcr = engine.system_register(*HCR_EL2).write
        self._offered = False  # whether the CPU that runs is told of an interrupt

        self.gic = Gic(self._interrupt, self.cpus, self._current, self.interrupted)
        self.timers = Timers(self.clock, self.cpus, self._current, self._timer_line)
        self.uart = Pl011(self.console, lambda level: self.gic.set_line(32 + UART_SPI, level))
        self.psci = Psci(self, self.cpus)
        self._map_devices()
        self.missing_devices.watch(PL011_BASE + PL011_SIZE, _RAM - 1)
        self.missing_devices.watch(_RAM + len(self.ram), MOST_PHYSICAL)
        self.kernel_hooks = KernelHooks(engine, self.timers)
        self._entry = ExceptionEntry(engine, lambda why: self.fail(GuestReset, why))
        for vcpu in self.machine.vcpus:
            vcpu.traps.emulate.append(self._emulate)
            vcpu.traps.deliver = self._deliver
        if self.cpus > 1:
            self._at_reset = self._make_reset()

    def _current(self) -> int:
        return self.machine.vcpu.number

    @property
    def timer(self) -> Timer:
        """That of the CPU that runs."""
        return self.timers.current

    @cached_property
    def _pages_16k(self) -> bool:
        return _boot_header(self.image)[1] >> 1 & 3 == _PAGES_16K

    @cached_property
    def _id_registers(self) -> IdRegisters:
        return IdRegisters(self.machine.engine, PAGES_16K if self._pages_16k else {})

    @cached_property
    def _hcr(self) -> int:
        return _HCR | (HCR_TID3 if self._pages_16k else 0)

    # -- putting it together -----------------------------------------------------------------------

    def _map_devices(self) -> None:
        gic, uart, engine = self.gic, self.uart, self.machine.engine
        for base, size, read, write in (
            (GICD_BASE, GIC_SIZE, gic.read_distributor, gic.write_distributor),
            (GICC_BASE, GIC_SIZE, gic.read_interface, gic.write_interface),
            (PL011_BASE, PL011_SIZE, uart.read, uart.write),
        ):
            engine.hooks.map_device(base, size, read, write)

    def _load(self, initrd: bytes) -> None:
        """Load everything and let the CPU stand at the kernel's first instruction.

        Documentation/arch/arm64/booting.rst: MMU off, interrupts masked, x0 = device tree.
        """
        first = self.image.segments[0].vaddr
        kernel = _RAM + _ALIGN + first % _ALIGN
        end = page_up(kernel + _boot_header(self.image)[0])
        for segment in self.image.segments:
            at = kernel + segment.vaddr - first
            end = max(end, page_up(at + segment.memsz))
            if end <= _RAM + len(self.ram):
                self.ram[at - _RAM : at - _RAM + len(segment.data)] = segment.data
        place = None
        if initrd:
            place = (end, end + len(initrd))
            end = page_up(place[1])
        tree = device_tree(_RAM, len(self.ram), self.append, place, self.cpus)
        if end > _RAM + len(self.ram) or len(tree) > _ALIGN:
            raise UsageError(
                f"{len(self.ram) >> 20} MiB of memory will not do for this kernel and its initrd: "
                f"give at least {(end - _RAM >> 20) + 64} MiB"
            )
        if place is not None:
            self.ram[place[0] - _RAM : place[1] - _RAM] = initrd
        self.ram[: len(tree)] = tree

        self._reset()
        self._words[0] = _RAM
        self._words[self._pc] = kernel
        self.kernel_hooks.find(self.image)

    def _reset(self) -> None:
        """Let the engine's registers be as firmware hands a CPU to a kernel.

        MMU off, interrupts masked; Documentation/arch/arm64/booting.rst.
        """
        engine = self.machine.engine
        engine.write_system(*SCR_EL3, _SCR)
        self._write_hcr(self._hcr)
        engine.write_system(*CNTHCTL_EL2, 0)
        engine.write_flags(_PSTATE_EL1H)
        engine.write_system(*CNTHCTL_EL2, 0)  # this makes PSTATE take effect

    def _make_reset(self) -> Context:
        engine = self.machine.engine
        before = engine.new_context()
        self._reset()
        at_reset = engine.new_context()
        before.restore()
        return at_reset

    def parts(self) -> dict[str, Saved]:
        """What has a state of its own, by name."""
        parts: dict[str, Saved] = {
            "console": self.console,
            "clock": self.clock,
            "gic": self.gic,
            "timer": self.timers.each[0],
            "kernel_hooks": self.kernel_hooks,
            "uart": self.uart,
            "exceptions": self._entry,
        }
        if self.cpus > 1:
            parts["psci"] = self.psci
            parts.update({f"timer{n}": timer for n, timer in enumerate(self.timers.each) if n})
        return parts

    def loaded(self) -> None:
        """The waiting interrupt is not among the registers: tell the CPU again, too."""
        super().loaded()
        self.timers.look()
        self._set_interrupt(self.gic.level(self._current()))

    # -- what the firmware asks for ----------------------------------------------------------------

    def end(self, kind: Stop) -> None:
        """The guest comes to its end."""
        self.stop(StopReason(kind))

    def is_on(self, cpu: int) -> bool:
        """Whether CPU number ``cpu`` is on."""
        return self.turns is None or self.turns.on[cpu]

    def switch_off(self) -> None:
        """Switch the CPU that runs off; with the last one the guest ends."""
        turns, cpu = self.turns, self._current()
        if turns is None or (sum(turns.on) == 1 and not self.psci.starting):
            self.end(Stop.HALT)
            return
        self.timers.switch_off(cpu)
        turns.power_off(cpu)

    def wait(self) -> None:
        """The CPU that runs waits for an interrupt; one that is alone does so by its WFI."""
        if self.turns is not None:
            self.turns.halt()
            self.clock.stop_run()

    def _start_cpus(self, turns: CpuTurns) -> None:
        machine = self.machine
        running = machine.vcpu.number
        for cpu, entry, context in self.psci.take_starting():
            machine.switch_to(cpu)
            self._at_reset.restore()
            machine.engine.write_system(*VMPIDR_EL2, _MPIDR_RES1 | cpu)
            self._words[0] = context
            self._words[self._pc] = entry
            turns.power_on(cpu)
        machine.switch_to(running)

    # -- traps -------------------------------------------------------------------------------------

    def _emulate(self, vector: int) -> bool:
        """Trapped timer registers, and calls of the firmware."""
        if vector == _UNDEFINED:
            syndrome = self._syndrome.value
            return syndrome >> 26 == _SYSTEM_REGISTER and self._system_register(syndrome)
        if vector == _SMC:
            words = self._words
            words[0] = self.psci.call(words[0] & MASK32, words[1], words[2], words[3])
            if self.psci.starting:
                self.clock.stop_run()
            return True
        return False

    def _system_register(self, syndrome: int) -> bool:
        register = (
            *(syndrome >> 20 & 3, syndrome >> 14 & 7),
            *(syndrome >> 10 & 15, syndrome >> 1 & 15, syndrome >> 17 & 7),
        )
        words = self._words
        user = not self.machine.cpu.read_flags() & 0xC
        is_id = self._id_registers.has(register) and not user
        if not is_id and not self.timer.allows(register, user):
            return False
        number = syndrome >> 5 & 31
        if syndrome & 1:
            source = self._id_registers if is_id else self.timer
            value = source.read(register)
            if number != 31:
                words[number] = value
        else:
            self.timer.write(register, words[number] if number != 31 else 0)
        words[self._pc] += 4
        return True

    def _deliver(self, vector: int) -> None:
        if vector not in _KNOWN_EXCEPTIONS:
            self.fail(GuestReset, f"the CPU took exception {vector}, which a guest cannot handle")
        self._entry.deliver(vector)

    # -- interrupts --------------------------------------------------------------------------------

    def _interrupt(self, cpu: int, level: bool) -> None:
        """The GIC's line to a CPU: Unicorn takes a virtual interrupt by itself, and precisely."""
        if cpu == self._current():
            self._set_interrupt(level)
        if level:
            self.clock.stop_run()

    def _set_interrupt(self, level: bool) -> None:
        self._offered = level
        self._write_hcr(self._hcr | (_HCR_IRQ if level else 0))

    def _timer_line(self, level: bool, cpu: int) -> None:
        self.gic.set_line(16 + TIMER_PPI, level, cpu)

    def settle(self) -> None:
        """Of several CPUs, one that does not run has no interrupt waiting in its registers."""
        if self.turns is not None and self._offered:
            self._set_interrupt(False)

    def exceptions(self) -> int:
        """How many synchronous exceptions the guest has taken."""
        return self._entry.count

    def mode(self) -> tuple[bool, bool]:
        """Whether the CPU is at EL1, and whether PSTATE.I is clear."""
        flags = self.machine.cpu.read_flags()
        return bool(flags & 0xC), not flags & _MASKED

    def next_event(self) -> int | None:
        """When the first timer is due, in virtual nanoseconds."""
        return self.timers.next_event

    def advance(self) -> None:
        """Switch on who was asked for, and let the timers' lines follow the time."""
        if self.turns is not None and self.psci.starting:
            self._start_cpus(self.turns)
        self.timers.advance()

    def update_interrupts(self) -> bool:
        """Let the timers' lines follow the time; whether the CPU is being interrupted."""
        self.timers.advance()
        level = self.gic.level(self._current())
        if level != self._offered:
            self._set_interrupt(level)
        return level

    def wants(self, number: int) -> bool:
        """Whether an interrupt wakes CPU ``number``."""
        return self.gic.level(number)

    def halted_at(self, pc: int) -> bool:
        """Whether the instruction before ``pc`` is WFI."""
        try:
            return self.machine.memory.read(pc - 4 & MASK64, 4) == _WFI
        except GuestMemoryError:
            return False

    def idle_for_ever(self) -> None:
        """WFI with nothing to wait for: a hang, unless the guest has switched its CPUs off."""
        on = [vcpu for vcpu in self.machine.vcpus if self.is_on(vcpu.number)]
        masked = all(vcpu.saved_regs().flags & _MASKED for vcpu in on)
        if masked and self.timers.next_event is None:
            self.stop(StopReason(Stop.HALT))
        else:
            super().idle_for_ever()


def _boot_header(image: KernelImage) -> tuple[int, int]:
    """How much memory the kernel takes from its first byte on, page tables included; and flags.

    The header is that of Documentation/arch/arm64/booting.rst; a vmlinux starts with it, too.

    Raises:
        UsageError: The image has none.
    """
    head = image.segments[0].first(_HEADER.size)
    if len(head) < _HEADER.size:
        raise UsageError(f"{image.path} has no boot header: it is no kernel that can be booted")
    size, flags, magic = _HEADER.unpack(head)
    if magic != b"ARM\x64":
        raise UsageError(f"{image.path} has no boot header: it is no kernel that can be booted")
    return int(size), int(flags)
