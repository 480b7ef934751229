"""The ARM64 CPU: EL1 with its MMU set up from outside, its traps, its calling convention."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from kprobesim.arch.architecture import ARM64
from kprobesim.arch.arm64.system_registers import (
    CPACR_EL1,
    HCR_EL2,
    MAIR_EL1,
    MDSCR_EL1,
    SCR_EL3,
    SCTLR_EL1,
    SP_EL0,
    TCR_EL1,
    TPIDR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
)
from kprobesim.machine.memory import GuestMemory, HostAccess, Prot
from kprobesim.machine.registers import Arm64PtRegs, NamedArgument, nobody_knows
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["Arm64Cpu"]

# Descriptor bits (Arm ARM D8.3): type, attribute index 0, AP, inner shareable, access flag, XN.
_TABLE, _PAGE, _BLOCK = 3, 3, 1
_USER, _READ_ONLY, _SHARED, _ACCESSED = 1 << 6, 1 << 7, 3 << 8, 1 << 10
_PXN, _UXN = 1 << 53, 1 << 54
_FRAME = 0x0000_FFFF_FFFF_F000


_TCR = 16 | 16 << 16 | 2 << 30 | 5 << 32 | 0x3500_3500  # 48 bits, 4 KiB granules, cacheable
_TCR_TBI1 = 1 << 38
_SCTLR = 0x30D0_0800 | 0x1005  # RES1, I C M
_PSTATE_EL1H = 0x5
_MDSCR_STEP = 0xA001  # MDE KDE SS
_PSTATE_SS, _PSTATE_I, _DAIF = 1 << 21, 1 << 7, 0xF << 6

# Unicorn's numbers of exceptions, QEMU's EXCP_*
_KINDS = {
    1: TrapKind.UNDEFINED,
    2: TrapKind.SYSCALL,
    3: TrapKind.PAGE_FAULT,
    4: TrapKind.PAGE_FAULT,
    7: TrapKind.BREAKPOINT,
}


class Arm64Pte:
    """Entries of a 4 KiB granule, stage 1."""

    def table(self, physical: int) -> int:
        return physical | _TABLE

    def page(self, physical: int, prot: int) -> int:
        return self._leaf(physical, prot) | _PAGE

    def block(self, physical: int, prot: int) -> int:
        return self._leaf(physical, prot) | _BLOCK

    def _leaf(self, physical: int, prot: int) -> int:
        entry = physical | _SHARED | _ACCESSED | _UXN
        if not prot & Prot.W:
            entry |= _READ_ONLY
        if prot & Prot.USER:
            entry |= _USER
        return entry if prot & Prot.X else entry | _PXN

    def target(self, entry: int) -> int | None:
        return entry & _FRAME if entry & 3 == _TABLE else None


class Arm64Cpu:
    """What the machine must know of ARM64. Implements :class:`kprobesim.machine.cpu.Cpu`."""

    regs_class = Arm64PtRegs
    pte_format = Arm64Pte()
    isa = ARM64
    breakpoint_vector = 7
    step_vector = 1
    undefined_vector: int | None = None
    halt = struct.pack("<I", 0xD503207F)  # wfi
    # 1: ldrb w2, [x0]; add x0, x0, #0x1000; subs x1, x1, #1; b.ne 1b; wfi
    page_toucher = struct.pack("<5I", 0x39400002, 0x91400400, 0xF1000421, 0x54FFFFA1, 0xD503207F)
    """Reads one byte of each of as many pages as its second argument says."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.read_flags = engine.read_flags  # not a method: one call less for each branch
        self.read_u64: Callable[[int], int]  # set by who has the memory
        self.named_argument: NamedArgument = nobody_knows
        self._mdscr = engine.system_register(*MDSCR_EL1)
        self._pstate = engine.fields["pstate"]
        self._guests_mdscr = 0

    def start(self, memory: GuestMemory) -> None:
        """Enter EL1 with the page tables of ``memory``; interrupts enabled.

        Without SCR_EL3 and HCR_EL2 Unicorn takes EL1 for AArch32: no page walk, no single step.
        """
        engine = self.engine
        low, high = memory.tables.plant(shared=False)
        for register, value in (
            (SCR_EL3, 0x531),  # NS, HCE, RW
            (HCR_EL2, 1 << 31),  # RW
            (CPACR_EL1, 3 << 20),
            (MAIR_EL1, 0xFF),
            (TTBR0_EL1, low),
            (TTBR1_EL1, high),
            (TCR_EL1, _TCR),
        ):
            engine.write_system(*register, value)
        engine.write_flags(_PSTATE_EL1H)
        engine.write_system(*SCTLR_EL1, _SCTLR)

    def ignore_kernel_tags(self) -> None:
        """Let the top byte of the kernel's addresses be a tag: TCR_EL1.TBI1 (KASAN_SW_TAGS)."""
        self.engine.write_system(*TCR_EL1, _TCR | _TCR_TBI1)

    def set_percpu_base(self, address: int) -> None:
        """Let TPIDR_EL1 be this CPU's per-CPU offset."""
        self.engine.write_system(*TPIDR_EL1, address)

    def set_current(self, address: int) -> None:
        """Let SP_EL0 point at the running task."""
        self.engine.write_system(*SP_EL0, address)

    def current(self) -> int:
        """SP_EL0: the running task."""
        return self.engine.read_system(*SP_EL0)

    # -- flags -----------------------------------------------------------------------------------

    def write_flags(self, value: int) -> None:
        """Write PSTATE: condition flags and masks; the exception level stays EL1."""
        value = value & ~0x1F | _PSTATE_EL1H
        self.engine.write_flags(value & 0xFFFFFFFF)

    def read_vector(self, number: int) -> int:
        """q ``number``."""
        return self.engine.read_vector(number)

    def write_vector(self, number: int, value: int) -> None:
        """Write q ``number``."""
        self.engine.write_vector(number, value)

    def step_flags(self, *, single_step: bool) -> tuple[int, int]:
        """All of DAIF is masked while stepping; for the CPU's step only I is, and D must be 0."""
        return _DAIF, _PSTATE_I if single_step else _DAIF

    def single_steps(self) -> bool:
        """PSTATE.SS, which the instruction clears."""
        return bool(self.engine.fields["pstate"].value & _PSTATE_SS)

    def shadow_interrupts(self, begins: bool) -> None:
        """ARM64 takes them at once."""

    def set_single_step(self, on: bool) -> None:
        """Trap after the next instruction: SPSR.SS and MDSCR_EL1.SS, which must come last.

        A booted guest has a value of its own in MDSCR_EL1, which comes back.
        """
        pstate, mdscr = self._pstate, self._mdscr
        if on:
            pstate.value |= _PSTATE_SS
            self._guests_mdscr = guests = mdscr.read()
            mdscr.write(guests | _MDSCR_STEP)
        else:
            pstate.value &= ~_PSTATE_SS
            mdscr.write(self._guests_mdscr)

    # -- traps -----------------------------------------------------------------------------------

    def trap(self, vector: int) -> Trap:
        """Decode the exception that is being delivered (Unicorn's numbers are QEMU's EXCP_*)."""
        engine = self.engine
        esr = engine.fields["esr"].value
        kind = _KINDS.get(vector, TrapKind.OTHER)
        if kind is not TrapKind.PAGE_FAULT:
            if ARM64.trap_kinds.get(esr >> 26) is TrapKind.STEP:
                kind = TrapKind.STEP
            return Trap(kind, esr >> 26, esr)
        address = engine.fields["far"].value
        if esr & 0x3F == 0x21:
            return Trap(TrapKind.ALIGNMENT, esr >> 26, esr, address)
        access = "execute" if vector == 3 else "write" if esr & 0x40 else "read"
        return Trap(kind, esr >> 26, esr, address, access)

    def undo_breakpoint(self) -> None:
        """pc points at the breakpoint already."""

    # -- calling convention ------------------------------------------------------------------------

    def first_frame(self, stack_top: int, pad: int) -> tuple[dict[int, int], bytes]:
        """The link register, and a frame pointer that ends call traces."""
        return {31: stack_top & ~15, 30: pad, 29: 0}, b""

    def prepare_call(
        self, memory: HostAccess, stack_top: int, arguments: Sequence[int], pad: int
    ) -> None:
        """Registers and stack as after a ``bl`` whose return address is ``pad`` (AAPCS64)."""
        words = self.engine.words
        for number, value in enumerate(arguments[:8]):
            words[number] = value
        sp = stack_top & ~15
        if len(arguments) > 8:
            rest = arguments[8:]
            sp = (stack_top - 8 * len(rest)) & ~15
            memory.write(sp, struct.pack(f"<{len(rest)}Q", *rest))
        words[31] = sp
        words[30] = pad
        words[29] = 0  # the outermost frame

    def return_to_caller(self, memory: HostAccess) -> None:
        """A ``ret``: to the link register."""
        words = self.engine.words
        words[self.engine.layout.pc] = words[30]
