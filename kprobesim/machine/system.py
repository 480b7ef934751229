"""What every guest has, called or booted, and its CPUs share: memory, code, the kernel's names."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

from kprobesim.machine.clock import GuestClock
from kprobesim.machine.code_watch import CodeWatch
from kprobesim.machine.cpu import Cpu
from kprobesim.machine.cpu_state import breakpoints_of, remake_breakpoints
from kprobesim.machine.die_notifiers import DieEvent, DieNotifiers, event_of
from kprobesim.machine.faults import GuestFault
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.stopwatch import RunTime, Stopwatch
from kprobesim.machine.text import KernelText
from kprobesim.machine.trap import Trap
from kprobesim.machine.turn import Turn
from kprobesim.machine.unicorn.cpu_switch import CpuSwitch, make_switch
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.vcpu import Vcpu

__all__ = ["Names", "Originals", "System"]


class Names(Protocol):
    """Who knows the kernel's symbols."""

    def symbolize(self, address: int) -> str:
        """``symbol+offset/size``, or the number."""

    def trace(self, regs: PtRegs) -> list[str]:
        """The callers of where ``regs`` stand."""


class Originals(Protocol):
    """Who knows what probes stand in the place of."""

    @property
    def breakpoints(self) -> Sequence[int]:
        """Where breakpoints are, in a guest whose probes are hooks else."""

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code as it is without probes."""

    def find_ret_addr(self, address: int, frame: int) -> int:
        """The real return address behind the one that was found at, or beside, ``frame``."""


class _NoNames:
    """Where there are no symbols."""

    def symbolize(self, address: int) -> str:
        return f"{address:#x}"

    def trace(self, regs: PtRegs) -> list[str]:
        return []


class System:
    """A guest: one memory, one text, and its CPUs.

    Attributes:
        isa: What is to be known of its architecture without a CPU.
        memory: Guest memory by virtual address.
        text: Guest code, as something that is written on purpose only.
        code_watch: Who is called before the instruction at an address.
        die_notifiers: Who is asked before a trap that nobody takes ends the run.
        explainers: Who may know why the run ends with a trap: a sentence, or "".
        names: Who knows the kernel's symbols.
        originals: Who knows what probes stand in the place of; ``None``: there are none.
        clock: The time of all of them.
        vcpus: The CPUs, by number.
        vcpu: The one that runs, or ran last: the engine's registers are its.
        number_word: The number of that one, for compiled code.
        on_new_vcpu: Who hears of each CPU that is added.
        sync_cpus: Waits until the hits that are on their way on other CPUs are over, as an
            interrupt to each does, or a grace period. Where no turn ends in a hit there are none.
        leave_code: Waits until no other CPU stands at an address from a first one to before an end.
        background: Work that goes on beside the CPUs: called at each turn until it says it is done.
        has_turns: Whether that is called.
        online: How many of them are switched on.
        turn: Who uses the system now.
    """

    def __init__(self, engine: Engine, cpu: Cpu, memory: HostAccess) -> None:
        """Make a system of one CPU; :meth:`add_vcpu` makes more."""
        self.arch = engine.arch
        self.isa = cpu.isa
        self.memory = memory
        memory.watch_code(engine.code_pages)
        cpu.read_u64 = memory.read_u64
        self.text = KernelText(memory)
        self.code_watch = CodeWatch(engine, self.text)
        self.die_notifiers = DieNotifiers()
        self.explainers: list[Callable[[Trap, PtRegs], str]] = []
        self.names: Names = _NoNames()
        self.originals: Originals | None = None
        self.clock: GuestClock
        self.vcpu = Vcpu(self, 0, engine, cpu)
        self.vcpus = [self.vcpu]
        self.on_new_vcpu: list[Callable[[Vcpu], object]] = []
        self.sync_cpus: Callable[[], None] = lambda: None
        self.leave_code: Callable[[int, int], None] = lambda start, end: None
        self.background: list[Callable[[], bool]] = []
        self.has_turns = False
        self.online: Callable[[], int] = lambda: len(self.vcpus)
        self.number_word = (ctypes.c_uint64 * 1)()
        self._per_cpu: list[tuple[Any, list[bytes]]] = []
        self.turn = Turn(lambda: self.vcpu.in_handler)

    def __repr__(self) -> str:
        running = f", {self.depth} calls deep" if self.depth else ""
        return f"<{type(self).__name__} {self.arch} at {self.regs.ip:#x}{running}>"

    @cached_property
    def stopwatch(self) -> Stopwatch:
        """What programs take the time by: how long the guest runs, if nobody has put a clock here.

        Nothing is measured before it is asked for.
        """
        return RunTime(self.engine)

    # -- several CPUs ------------------------------------------------------------------------------

    @cached_property
    def _breakpoints(self) -> tuple[Any, bytes]:
        pointers = breakpoints_of(self.engine)
        return pointers, bytes(len(pointers))

    @cached_property
    def _switch(self) -> CpuSwitch:
        switch = make_switch(self.engine)
        self.vcpu.put_in = switch.add(self.vcpu.context)
        return switch

    def add_vcpu(self, *, alike: bool = False) -> Vcpu:
        """One more CPU, with the registers that the engine has now.

        Args:
            alike: Those who are asked about the traps of the first one are asked about its traps.

        All CPUs are register files of one engine, of which one is in force at a time. So they share
        what was translated, its hooks, and the RAM, and nothing need be told to anybody.
        """
        first, switch = self.vcpus[0], self._switch
        vcpu = Vcpu(self, len(self.vcpus), first.engine, first.cpu, first)
        vcpu.put_in = switch.add(vcpu.context)
        self.vcpus.append(vcpu)
        for words, saved in self._per_cpu:
            saved.append(bytes(words))
        if alike:
            vcpu.traps.ask_as(first.traps)
        for heard in self.on_new_vcpu:
            heard(vcpu)
        return vcpu

    def per_cpu_words(self, words: Any) -> None:
        """Let each CPU have values of its own in ``words``, an array of ctypes.

        For what compiled code has the address of.
        """
        self._per_cpu.append((words, [bytes(words)] * len(self.vcpus)))

    def switch_to(self, number: int) -> None:
        """Let the engine run CPU ``number`` from now on: between two runs."""
        old, new = self.vcpu, self.vcpus[number]
        if new is old:
            return
        pointers, none = self._breakpoints
        old.has_breakpoints = pointers.raw != none
        if old.has_breakpoints or new.has_breakpoints:
            self._switch_breakpoints(new)
        else:
            new.put_in()
        new.traps.enter()
        self.number_word[0] = number
        for words, saved in self._per_cpu:
            saved[old.number] = bytes(words)
            ctypes.memmove(words, saved[number], len(saved[number]))
        self.vcpu = new

    def _switch_breakpoints(self, new: Vcpu) -> None:
        """Put ``new`` into the engine, whose one list of breakpoints is that of the CPU in it."""
        engine = new.engine
        old = engine.read_registers()
        new.put_in()
        remake_breakpoints(engine, old, engine.read_registers())

    # -- the CPU that runs -------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine of :attr:`vcpu`."""
        return self.vcpu.engine

    @property
    def cpu(self) -> Cpu:
        """The architecture's half of :attr:`vcpu`."""
        return self.vcpu.cpu

    @property
    def words(self) -> Any:
        """The registers of :attr:`vcpu`, live, as 64-bit words."""
        return self.vcpu.words

    @property
    def regs(self) -> PtRegs:
        """The registers of :attr:`vcpu`."""
        return self.vcpu.regs

    @property
    def in_handler(self) -> bool:
        """Whether a handler of a probe runs on :attr:`vcpu`."""
        return self.vcpu.in_handler

    @property
    def depth(self) -> int:
        """How many calls, one inside the other, :attr:`vcpu` is executing."""
        return self.vcpu.depth

    # -- code --------------------------------------------------------------------------------------

    def write(self, address: int, data: bytes, who: str = "host") -> None:
        """Write guest memory; code goes through :class:`KernelText`."""
        if data and (self.text.is_code(address) or self.text.is_code(address + len(data) - 1)):
            self.text.poke(address, data, who)
        else:
            self.memory.write(address, data)

    def read_code(self, address: int, size: int) -> bytes:
        """Guest code as it is without probes."""
        if self.originals is None:
            return self.memory.read(address, size)
        return self.originals.read_original(address, size)

    def recover_return(self, address: int, frame: int) -> int:
        """The real return address behind the one that was found at, or beside, ``frame``."""
        return address if self.originals is None else self.originals.find_ret_addr(address, frame)

    def symbolize(self, address: int) -> str:
        """``symbol+offset/size``, or the number."""
        return self.names.symbolize(address)

    def unwind(self, regs: PtRegs) -> list[str]:
        """The callers of where ``regs`` stand."""
        return self.names.trace(regs)

    # -- traps that end a run ----------------------------------------------------------------------

    def notify_die(self, trap: Trap, regs: PtRegs) -> bool:
        """Whether a notifier has dealt with ``trap``, of which the guest's run would end.

        As in the kernel, the ip of an x86-64 breakpoint is the one behind it then.
        """
        event = event_of(trap, self.arch) if self.die_notifiers else None
        if event is None:
            return False
        ip = regs.ip
        if event is DieEvent.DIE_INT3:
            regs.ip = ip + 1
        if self.die_notifiers.call(event, regs, trap):
            return True
        if event is DieEvent.DIE_INT3:
            regs.ip = ip
        return False

    def fault_of(self, trap: Trap, regs: PtRegs) -> GuestFault:
        """The error that tells of ``trap``, and all that is known of the reason."""
        hint = next(filter(None, (explain(trap, regs) for explain in self.explainers)), "")
        return GuestFault(trap, regs, self.symbolize(regs.ip), self.unwind(regs), hint)
