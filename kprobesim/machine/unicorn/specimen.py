"""Bare CPUs on which something is provoked, to see what changes in Unicorn's structs.

They have no MMU, and everything goes through the official binding: what is measured on them is what
the binding says.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import unicorn
from unicorn import arm64_const, arm_const, x86_const

from kprobesim.arch.architecture import halves
from kprobesim.machine.unicorn.library import GPRS, REGISTERS

__all__ = ["Specimen", "structs_after_thumb"]

_CODE = 0x1000
_CODE_BYTES = 0x100
_MEMORY_BYTES = 0x4000
_ZERO_FLAG = 1 << 30  # of CPSR


def _open_x86() -> unicorn.Uc:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_cpu_model(x86_const.UC_CPU_X86_EPYC_ROME)
    return uc


def _open_arm64() -> unicorn.Uc:
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    uc.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_A72)
    uc.ctl_set_page_size(4096)
    return uc


_OPENERS = halves(x86_64=_open_x86, arm64=_open_arm64)


def _address_of(uc: unicorn.Uc) -> int:
    """Where the CPU's own struct (``uc_struct``) is."""
    return ctypes.cast(uc._uch, ctypes.c_void_p).value or 0


class Specimen:
    """A CPU of ``arch`` for :mod:`kprobesim.machine.unicorn.struct_layout` to measure.

    ``handle`` is the address of its struct. A fault ends a run and stays in the registers.
    """

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self._uc = _OPENERS[arch]()
        self._gprs = GPRS[arch]
        self._flags = REGISTERS[arch]["flags"]
        self.handle = _address_of(self._uc)
        self._uc.mem_map(0, _MEMORY_BYTES)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, *_: uc.emu_stop())

    def set_flags(self, value: int) -> None:
        """Write EFLAGS or PSTATE."""
        self._uc.reg_write(self._flags, value)

    def set_gpr(self, number: int, value: int) -> None:
        """Write a general register."""
        self._uc.reg_write(self._gprs[number], value)

    def set_register(self, number: int, value: Any) -> None:
        """Write any register by Unicorn's number, with a value as the binding wants it."""
        self._uc.reg_write(number, value)

    def execute(self, code: bytes, count: int = 0) -> None:
        """Run ``code`` until it faults, ends, or ``count`` instructions are done."""
        self._uc.ctl_remove_cache(_CODE, _CODE + _CODE_BYTES)
        self._uc.mem_write(_CODE, code)
        self._uc.emu_start(_CODE, _CODE + len(code), count=count)

    def context(self) -> bytes:
        """The register struct as the API saves it, with a header of its own before it."""
        saved = self._uc.context_save()
        return ctypes.string_at(ctypes.cast(saved.context, ctypes.c_void_p).value or 0, saved.size)


def structs_after_thumb(codes: Iterable[bytes], size: int) -> list[bytes]:
    """``size`` bytes of a 32-bit ARM CPU's struct (``uc_struct``) after it ran each of ``codes``.

    They are Thumb, run one after the other with the zero flag set, and end by an exception. Nothing
    is returned by a Unicorn that was built without 32-bit ARM.
    """
    try:
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    except unicorn.UcError:
        return []
    uc.mem_map(_CODE, _MEMORY_BYTES)
    uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, *_: uc.emu_stop())
    uc.reg_write(arm_const.UC_ARM_REG_CPSR, uc.reg_read(arm_const.UC_ARM_REG_CPSR) | _ZERO_FLAG)
    seen = []
    for number, code in enumerate(codes):
        start = _CODE + _CODE_BYTES * number
        uc.mem_write(start, code)
        uc.emu_start(start | 1, start + _CODE_BYTES)
        seen.append(ctypes.string_at(_address_of(uc), size))
    return seen
