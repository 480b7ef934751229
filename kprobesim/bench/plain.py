"""The rival: Unicorn as its own documentation uses it, all through the official binding.

It runs the very memory of a :class:`CalledKernel`, so both execute the same code on the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import unicorn
from unicorn import arm64_const, x86_const

from kprobesim.arch.arm64.system_registers import (
    CPACR_EL1,
    HCR_EL2,
    MAIR_EL1,
    SCR_EL3,
    SCTLR_EL1,
    SP_EL0,
    TCR_EL1,
    TPIDR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
)
from kprobesim.errors import EngineError
from kprobesim.kernel.called import CalledKernel

__all__ = ["Mode", "Plain"]

Mode = Literal["virtual", "paged"]

_STACK = 256 << 10
_MSR_EFER, _MSR_GS_BASE = 0xC0000080, 0xC0000101
_TASK = SP_EL0, TPIDR_EL1
# SCTLR_EL1 comes last: it turns the MMU on.
_PAGING = SCR_EL3, HCR_EL2, CPACR_EL1, MAIR_EL1, TTBR0_EL1, TTBR1_EL1, TCR_EL1


class Plain:
    """A ``Uc`` on the memory of ``kernel``, as it is mapped now.

    mode : "virtual" (``UC_TLB_VIRTUAL``, each region mapped at its virtual address, no fill hook:
           the usual way to run a kernel image) or "paged" (the kernel's own page tables, the best
           that Unicorn can do)

    ``uc`` is the binding's object; ``pc``, ``flags`` and ``arguments`` are its register numbers.
    """

    def __init__(self, kernel: CalledKernel, mode: Mode) -> None:
        self.kernel = kernel
        self.x86 = kernel.arch == "x86_64"
        if self.x86:
            self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
            self.uc.ctl_set_cpu_model(x86_const.UC_CPU_X86_EPYC_ROME)
            self.pc, self.flags = x86_const.UC_X86_REG_RIP, x86_const.UC_X86_REG_EFLAGS
            self._sp, self._result = x86_const.UC_X86_REG_RSP, x86_const.UC_X86_REG_RAX
            self.arguments = [
                *(x86_const.UC_X86_REG_RDI, x86_const.UC_X86_REG_RSI, x86_const.UC_X86_REG_RDX),
                *(x86_const.UC_X86_REG_RCX, x86_const.UC_X86_REG_R8, x86_const.UC_X86_REG_R9),
            ]
        else:
            self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
            self.uc.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_A72)
            self.pc, self.flags = arm64_const.UC_ARM64_REG_PC, arm64_const.UC_ARM64_REG_PSTATE
            self._sp, self._result = arm64_const.UC_ARM64_REG_SP, arm64_const.UC_ARM64_REG_X0
            self.arguments = [arm64_const.UC_ARM64_REG_X0 + n for n in range(8)]
        self._stack = kernel.alloc(_STACK)
        # Not at the start of a page: after a run Unicorn looks up the byte before its end.
        self._pad = kernel.alloc(32, executable=True) + 16
        if mode == "virtual":
            self._map_virtual()
        else:
            self._map_paged()
        self._set_up(paged=mode == "paged")

    # -- memory and environment ------------------------------------------------------------------

    def _map_virtual(self) -> None:
        memory = self.kernel.machine.memory
        self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        for region in memory.regions:
            self.uc.mem_map_ptr(
                region.start,
                region.end - region.start,
                unicorn.UC_PROT_ALL,
                memory.host_address + region.offset,
            )

    def _map_paged(self) -> None:
        memory = self.kernel.machine.memory
        self.uc.mem_map_ptr(memory.base, memory.size, unicorn.UC_PROT_ALL, memory.host_address)

    def _set_up(self, *, paged: bool) -> None:
        """Per-CPU area and current task, and the page tables if they are used."""
        uc, engine = self.uc, self.kernel.machine.engine
        if self.x86:
            if paged:
                uc.reg_write(x86_const.UC_X86_REG_CR3, engine.read_register("cr3"))
                uc.reg_write(x86_const.UC_X86_REG_CR4, engine.read_register("cr4"))
                uc.msr_write(_MSR_EFER, engine.read_msr(_MSR_EFER))
                uc.reg_write(x86_const.UC_X86_REG_CR0, engine.read_register("cr0"))
            uc.msr_write(_MSR_GS_BASE, engine.read_msr(_MSR_GS_BASE))
            return
        for register in (*(_PAGING if paged else ()), *_TASK):
            self._write_system(register, engine.read_system(*register))
        uc.reg_write(self.flags, 0x5)  # EL1, interrupts enabled
        if paged:
            self._write_system(SCTLR_EL1, engine.read_system(*SCTLR_EL1))

    def _write_system(self, register: tuple[int, int, int, int, int], value: int) -> None:
        self.uc.reg_write(arm64_const.UC_ARM64_REG_CP_REG, (*register, value))

    # -- running ---------------------------------------------------------------------------------

    def call(self, address: int, *arguments: int) -> int:
        """Call the function at ``address`` and return its 64-bit result."""
        uc = self.uc
        for number, value in zip(self.arguments, arguments, strict=False):
            uc.reg_write(number, value)
        top = self._stack + _STACK - 64
        if self.x86:
            self.kernel.machine.memory.write_u64(top - 8, self._pad)
            uc.reg_write(self._sp, top - 8)
        else:
            uc.reg_write(arm64_const.UC_ARM64_REG_X30, self._pad)
            uc.reg_write(self._sp, top)
        try:
            uc.emu_start(address, self._pad)
        except unicorn.UcError as error:
            where = self.kernel.machine.symbolize(uc.reg_read(self.pc))
            raise EngineError(f"plain Unicorn stopped at {where}: {error}") from error
        return int(uc.reg_read(self._result))

    # -- hooks -----------------------------------------------------------------------------------

    def hook_code(self, address: int, handler: Callable[..., Any]) -> Callable[[], None]:
        """``handler(uc, address, size, data)`` before the instruction; returns what undoes it.

        Without a flush Unicorn goes on with what it has translated, and no hook ever fires.
        """
        uc = self.uc
        hook = uc.hook_add(unicorn.UC_HOOK_CODE, handler, begin=address, end=address)
        uc.ctl_flush_tb()

        def remove() -> None:
            uc.hook_del(hook)
            uc.ctl_flush_tb()

        return remove

    def hook_interrupt(self, handler: Callable[..., Any]) -> Callable[[], None]:
        """``handler(uc, number, data)`` for every trap; returns what undoes it."""
        hook = self.uc.hook_add(unicorn.UC_HOOK_INTR, handler)
        return lambda: self.uc.hook_del(hook)

    def patch(self, address: int, code: bytes) -> None:
        """Write guest code and drop what was translated from it."""
        self.kernel.machine.memory.write(address, code)
        self.uc.ctl_remove_cache(address, address + len(code))
