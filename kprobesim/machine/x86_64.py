"""The x86-64 CPU: long mode set up from outside, its traps, its calling convention."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence

from kprobesim.arch.architecture import X86_64
from kprobesim.machine.memory import GuestMemory, HostAccess, Prot
from kprobesim.machine.registers import NamedArgument, X86PtRegs, nobody_knows
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["X86Cpu"]

_PRESENT, _WRITE, _USER, _ACCESSED, _DIRTY, _BLOCK = 1, 2, 4, 0x20, 0x40, 0x80
_NO_EXECUTE = 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000

_CR0 = 0x8005_0033  # PG AM WP NE ET MP PE, as a running kernel's
_CR4 = 0x0000_0620  # PAE OSFXSR OSXMMEXCPT
_EFER = 0x0D01  # NX LMA LME SCE
_MSR_EFER = 0xC0000080
_MSR_GS_BASE = 0xC0000101

_TF, _IF = 0x100, 0x200
_HFLAGS, _HF_INHIBIT_IRQ = 176, 1 << 3  # where it is in CPUX86State (target/i386/cpu.h), and a bit


class X86Pte:
    """Entries of x86-64 page tables (Intel SDM volume 3, chapter 4)."""

    def table(self, physical: int) -> int:
        return physical | _PRESENT | _WRITE | _USER | _ACCESSED

    def page(self, physical: int, prot: int) -> int:
        entry = physical | _PRESENT | _ACCESSED
        if prot & Prot.W:
            entry |= _WRITE | _DIRTY
        if prot & Prot.USER:
            entry |= _USER
        return entry if prot & Prot.X else entry | _NO_EXECUTE

    def block(self, physical: int, prot: int) -> int:
        return self.page(physical, prot) | _BLOCK

    def target(self, entry: int) -> int | None:
        return entry & _FRAME if entry & _PRESENT and not entry & _BLOCK else None


class X86Cpu:
    """What the machine must know of x86-64. Implements :class:`kprobesim.machine.cpu.Cpu`."""

    regs_class = X86PtRegs
    pte_format = X86Pte()
    isa = X86_64
    breakpoint_vector = 3
    step_vector = 1
    undefined_vector: int | None = 6
    halt = b"\xf4"
    # 1: mov al, [rdi]; add rdi, 0x1000; dec rsi; jne 1b; hlt
    page_toucher = bytes.fromhex("8a074881c70010000048ffce75f2f4")
    """Reads one byte of each of as many pages as its second argument says."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._hflags = ctypes.c_uint32.from_address(ctypes.addressof(engine.words) + _HFLAGS)
        self.read_flags = engine.read_flags  # not a method: one call less for each branch
        self.read_u64: Callable[[int], int]  # set by who has the memory
        self.named_argument: NamedArgument = nobody_knows

    def start(self, memory: GuestMemory) -> None:
        """Enter long mode with the page tables of ``memory``; interrupts enabled."""
        root, _ = memory.tables.plant(shared=True)
        engine = self.engine
        engine.write_register("cr3", root)
        engine.write_register("cr4", _CR4)
        engine.write_msr(_MSR_EFER, _EFER)
        engine.write_register("cr0", _CR0)
        engine.write_register("cs", 0x10)
        engine.write_register("ss", 0x18)
        engine.write_flags(0x202)

    def set_percpu_base(self, address: int) -> None:
        """Let %gs point at this CPU's per-CPU area."""
        self.engine.write_msr(_MSR_GS_BASE, address)

    # -- flags -----------------------------------------------------------------------------------

    def write_flags(self, value: int) -> None:
        """Write EFLAGS; bit 1 is always set in the register."""
        self.engine.write_flags((value | 2) & 0xFFFFFFFF)

    def read_vector(self, number: int) -> int:
        """xmm ``number``."""
        return self.engine.read_vector(number)

    def write_vector(self, number: int, value: int) -> None:
        """Write xmm ``number``."""
        self.engine.write_vector(number, value)

    def step_flags(self, *, single_step: bool) -> tuple[int, int]:
        """Interrupts are masked while stepping, and EFLAGS.TF makes the CPU trap."""
        return _IF | _TF, _TF if single_step else 0

    def single_steps(self) -> bool:
        """EFLAGS.TF."""
        return self.read_flags() & _TF != 0

    def set_single_step(self, on: bool) -> None:
        """EFLAGS.TF is all that it takes."""

    def shadow_interrupts(self, begins: bool) -> None:
        """STI's shadow: one of an instruction within it has none of its own."""
        flags = self._hflags.value
        if begins or flags & _HF_INHIBIT_IRQ:
            self._hflags.value = flags ^ _HF_INHIBIT_IRQ

    # -- traps -----------------------------------------------------------------------------------

    def trap(self, vector: int) -> Trap:
        """Decode the exception that is being delivered."""
        engine = self.engine
        pending = engine.fields["old_exception"]
        code = engine.fields["error_code"].value
        # Unicorn never delivers the exception, so it stays pending and turns the next fault into
        # a double fault (vector 8). It is delivered here. (A breakpoint of DR7 cannot be told from
        # a single step: unicorn#1055.)
        pending.value = 0xFFFFFFFF
        if vector == X86_64.page_fault_number:
            access = "execute" if code & 0x10 else "write" if code & 2 else "read"
            address = engine.read_register("cr2")
            return Trap(TrapKind.PAGE_FAULT, vector, code, address, access)
        code = code if vector in (8, 10, 11, 12, 13, 17) else 0
        return Trap(X86_64.trap_kinds.get(vector, TrapKind.OTHER), vector, code)

    def undo_breakpoint(self) -> None:
        """Let ip point at the breakpoint that has just trapped, not behind it."""
        words = self.engine.words
        words[16] = words[16] - 1

    # -- calling convention ------------------------------------------------------------------------

    def first_frame(self, stack_top: int, pad: int) -> tuple[dict[int, int], bytes]:
        """The return address, and a frame pointer that ends call traces."""
        behind = stack_top & 15
        return {4: stack_top - behind - 8, 5: 0}, struct.pack("<Q", pad) + bytes(behind)

    def prepare_call(
        self, memory: HostAccess, stack_top: int, arguments: Sequence[int], pad: int
    ) -> None:
        """Registers and stack as after a ``call`` that returns to ``pad`` (System V ABI)."""
        words = self.engine.words
        registers = X86PtRegs.ARGUMENTS
        for number, value in zip(registers, arguments, strict=False):
            words[number] = value
        sp = stack_top & ~15
        if len(arguments) > len(registers):
            rest = arguments[len(registers) :]
            sp = (stack_top - 8 * len(rest)) & ~15
            memory.write(sp, struct.pack(f"<{len(rest)}Q", *rest))
        memory.write_u64(sp - 8, pad)
        words[4] = sp - 8
        words[5] = 0  # the outermost frame

    def return_to_caller(self, memory: HostAccess) -> None:
        """A ``ret``."""
        words = self.engine.words
        sp = words[4]
        words[16] = memory.read_u64(sp)
        words[4] = sp + 8
