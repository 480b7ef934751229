"""What the machine must know of an architecture, and the two that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from kprobesim.arch.architecture import Architecture, halves
from kprobesim.machine.arm64 import Arm64Cpu
from kprobesim.machine.memory import GuestMemory, HostAccess
from kprobesim.machine.paging import PteFormat
from kprobesim.machine.registers import NamedArgument, PtRegs
from kprobesim.machine.trap import Trap
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.x86_64 import X86Cpu

__all__ = ["Cpu", "make_cpu"]


class Cpu(Protocol):
    """One architecture's half of the machine. Addresses are the kernel's own memory map."""

    @property
    def isa(self) -> Architecture:
        """What is to be known of it without a CPU."""

    @property
    def regs_class(self) -> type[PtRegs]:
        """The registers' names."""

    @property
    def pte_format(self) -> PteFormat:
        """The bits of a page table entry."""

    breakpoint_vector: int
    step_vector: int
    undefined_vector: int | None
    """The vector of an undefined instruction, if Unicorn has a hook of its own for it."""
    halt: bytes
    page_toucher: bytes
    read_u64: Callable[[int], int]
    named_argument: NamedArgument

    def start(self, memory: GuestMemory) -> None:
        """Switch the MMU on."""

    def set_percpu_base(self, address: int) -> None:
        """Set the register through which per-CPU data are reached."""

    def read_flags(self) -> int:
        """EFLAGS or PSTATE."""

    def write_flags(self, value: int) -> None:
        """Write EFLAGS or PSTATE."""

    def read_vector(self, number: int) -> int:
        """The low 128 bits of a vector register."""

    def write_vector(self, number: int, value: int) -> None:
        """Write a vector register."""

    def step_flags(self, *, single_step: bool) -> tuple[int, int]:
        """(bits of the flags word to save while an instruction is stepped, what they are then)."""

    def single_steps(self) -> bool:
        """Whether it traps behind the instruction that it is at."""

    def set_single_step(self, on: bool) -> None:
        """What the CPU's single step takes beside the flags; only when it is used."""

    def shadow_interrupts(self, begins: bool) -> None:
        """An instruction was executed in the CPU's place.

        Args:
            begins: Whether interrupts wait until the one behind it is done.
        """

    def trap(self, vector: int) -> Trap:
        """Decode the exception that is being delivered."""

    def undo_breakpoint(self) -> None:
        """Let the program counter point at the breakpoint that trapped."""

    def return_to_caller(self, memory: HostAccess) -> None:
        """At a function's first instruction: stand where it returns to, as after its return."""

    def first_frame(self, stack_top: int, pad: int) -> tuple[dict[int, int], bytes]:
        """What a call without arguments that returns to ``pad`` leaves on an empty stack.

        Returns:
            Registers by the number of their word, and the bytes at the top of the stack.
        """

    def prepare_call(
        self, memory: HostAccess, stack_top: int, arguments: Sequence[int], pad: int
    ) -> None:
        """Set registers and stack as after a call whose return address is ``pad``."""


_CPUS: Mapping[str, Callable[[Engine], Cpu]] = halves(x86_64=X86Cpu, arm64=Arm64Cpu)


def make_cpu(engine: Engine) -> Cpu:
    """The half for the engine's architecture."""
    return _CPUS[engine.arch](engine)
