"""``RawCpu``: one emulated CPU, by the C functions of libunicorn alone.

The official binding does the same and a lot more; to import it takes 12 ms, a tenth of what it
takes to resume a kernel. It still measures the structs
(:mod:`~kprobesim.machine.unicorn.specimen`).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.library import check, library

__all__ = ["RawContext", "RawCpu"]

_OPEN: Mapping[str, tuple[int, int]] = halves(
    x86_64=(numbers.UC_ARCH_X86, numbers.UC_MODE_64),
    arm64=(numbers.UC_ARCH_ARM64, numbers.UC_MODE_ARM),
)
_MODELS: Mapping[str, Mapping[str, int]] = halves(
    x86_64={
        # Unicorn's own default refuses STAC/CLAC, which kernels with SMAP execute.
        "": numbers.UC_CPU_X86_EPYC_ROME,
        "epyc": numbers.UC_CPU_X86_EPYC_ROME,
        "qemu64": numbers.UC_CPU_X86_QEMU64,
    },
    arm64={"": numbers.UC_CPU_ARM64_A72},
)
# Else ARM's TLB goes by the smallest page of old, 1 KiB.
_PAGE_SIZES: Mapping[str, int] = halves(x86_64=0, arm64=4096)
_VECTOR = ctypes.c_uint8 * 16


class _Table(ctypes.Structure):
    """A descriptor table's register, as ``uc_x86_mmr``."""

    _fields_ = (
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class RawCpu:
    """A CPU of ``arch``, closed when nobody has it any more.

    ``model`` is the x86-64 one: "epyc" (the default) or "qemu64". ``handle`` is the address of its
    ``uc_struct``, which the C functions want.
    """

    def __init__(self, arch: str, model: str = "") -> None:
        """Open it; raises :class:`EngineError`."""
        if arch not in _OPEN:
            raise EngineError(f"no CPU for architecture {arch!r}: {' and '.join(_OPEN)} are there")
        self._lib = lib = library()
        handle = ctypes.c_void_p()
        check(lib.uc_open(*_OPEN[arch], ctypes.addressof(handle)), "opening a CPU")
        self.handle = handle.value or 0
        weakref.finalize(self, lib.uc_close, self.handle)
        self._control(numbers.UC_CTL_CPU_MODEL, _MODELS[arch][model])
        if _PAGE_SIZES[arch]:
            self._control(numbers.UC_CTL_UC_PAGE_SIZE, _PAGE_SIZES[arch])

    def _control(self, what: int, *values: int) -> None:
        code = numbers.UC_CTL_IO_WRITE << 30 | len(values) << 26 | what
        first = values[0] if values else 0
        check(self._lib.uc_ctl(self.handle, code, first, 0), "setting a CPU up")

    def flush_tlb(self) -> None:
        """Forget all address translations."""
        self._control(numbers.UC_CTL_TLB_FLUSH)

    def forget_all_code(self) -> None:
        """Drop all that was translated."""
        self._control(numbers.UC_CTL_TB_FLUSH)

    def read_vector(self, number: int) -> int:
        """128 bits of a vector register, by Unicorn's number."""
        value = _VECTOR()
        check(self._lib.uc_reg_read(self.handle, number, ctypes.addressof(value)), "a vector")
        return int.from_bytes(value, "little")

    def write_vector(self, number: int, value: int) -> None:
        """Write one."""
        data = _VECTOR.from_buffer_copy(value.to_bytes(16, "little"))
        check(self._lib.uc_reg_write(self.handle, number, ctypes.addressof(data)), "a vector")

    def write_table(self, number: int, base: int, limit: int) -> None:
        """Set a descriptor table's register, by Unicorn's number."""
        table = _Table(0, base, limit, 0)
        check(self._lib.uc_reg_write(self.handle, number, ctypes.addressof(table)), "a table")

    def new_context(self) -> RawContext:
        """Room for a copy of all registers."""
        return RawContext(self._lib, self.handle)


class RawContext:
    """Where ``uc_context_save()`` puts registers, ``size`` bytes at ``address``."""

    def __init__(self, lib: ctypes.CDLL, handle: int) -> None:
        """Make room for those of the CPU ``handle``; raises :class:`EngineError`."""
        place = ctypes.c_void_p()
        check(lib.uc_context_alloc(handle, ctypes.addressof(place)), "copying registers")
        self.address = place.value or 0
        self.size = int(lib.uc_context_size(handle))
        weakref.finalize(self, lib.uc_context_free, self.address)
