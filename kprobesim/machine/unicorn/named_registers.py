"""Registers that are no words: those that are asked for by name or number, through Unicorn."""

from __future__ import annotations

import ctypes

from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.library import (
    FIRST_VECTOR,
    REGISTERS,
    Msr,
    check,
    library,
)
from kprobesim.machine.unicorn.raw_cpu import RawCpu
from kprobesim.machine.unicorn.system_register import SystemRegister

__all__ = ["NamedRegisters"]


class NamedRegisters:
    """The part of an :class:`~kprobesim.machine.unicorn.engine.Engine` that asks Unicorn for them.

    ``model`` is as there.
    """

    def __init__(self, arch: str, model: str) -> None:
        """Make a CPU."""
        self.arch = arch
        self.model = model
        self._lib = library()
        self._uc = RawCpu(arch, model)
        self._handle = self._uc.handle
        self._scratch = ctypes.c_uint64()
        self._scratch_at = ctypes.addressof(self._scratch)
        self._numbers = REGISTERS[arch]

    def read_register(self, name: str) -> int:
        """A register of the tables above: "cr3", "dr7", "cs" ..."""
        self._scratch.value = 0
        number = self._numbers[name]
        check(self._lib.uc_reg_read(self._handle, number, self._scratch_at), name)
        return self._scratch.value

    def write_register(self, name: str, value: int) -> None:
        """Write a control register."""
        self.write_number(self._numbers[name], value)

    def write_number(self, number: int, value: int) -> None:
        """Write a register by its Unicorn number."""
        self._scratch.value = value
        status = self._lib.uc_reg_write(self._handle, number, self._scratch_at)
        check(status, f"register {number}")

    def read_vector(self, number: int) -> int:
        """The low 128 bits of vector register ``number`` (xmm or q)."""
        return self._uc.read_vector(self._vector(number))

    def write_vector(self, number: int, value: int) -> None:
        """Write the low 128 bits of vector register ``number``; ARM64 clears what lies above."""
        self._uc.write_vector(self._vector(number), value)

    def _vector(self, number: int) -> int:
        return FIRST_VECTOR[self.arch] + number

    def system_register(self, crn: int, crm: int, op0: int, op1: int, op2: int) -> SystemRegister:
        """An ARM64 system register, for whoever reads or writes it often."""
        return SystemRegister(self._lib, self._handle, (crn, crm, op0, op1, op2))

    def read_system(self, crn: int, crm: int, op0: int, op1: int, op2: int) -> int:
        """An ARM64 system register by its encoding."""
        return self.system_register(crn, crm, op0, op1, op2).read()

    def write_system(self, crn: int, crm: int, op0: int, op1: int, op2: int, value: int) -> None:
        """Write an ARM64 system register; this also makes an earlier PSTATE write take effect."""
        self.system_register(crn, crm, op0, op1, op2).write(value)

    def read_msr(self, number: int) -> int:
        """An x86 model specific register."""
        msr = Msr(number, 0)
        status = self._lib.uc_reg_read(self._handle, numbers.UC_X86_REG_MSR, ctypes.addressof(msr))
        check(status, f"model specific register {number:#x}")
        return int(msr.value)

    def write_msr(self, number: int, value: int) -> None:
        """Write an x86 model specific register."""
        msr = Msr(number, value)
        status = self._lib.uc_reg_write(self._handle, numbers.UC_X86_REG_MSR, ctypes.addressof(msr))
        check(status, f"model specific register {number:#x}")

    def write_table(self, name: str, base: int, limit: int) -> None:
        """Set the x86 "gdt" or "idt" register."""
        number = numbers.UC_X86_REG_GDTR if name == "gdt" else numbers.UC_X86_REG_IDTR
        self._uc.write_table(number, base, limit)
