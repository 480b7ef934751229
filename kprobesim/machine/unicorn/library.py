"""libunicorn: its functions with plain prototypes, its numbers for registers, its CPUs.

The official binding finds the library, and makes and frees a CPU. What is called often goes to the
C functions themselves.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

import unicorn
from unicorn import arm64_const, x86_const
from unicorn.unicorn_py3.unicorn import uclib

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError

__all__ = [
    "FIRST_VECTOR",
    "GPRS",
    "REGISTERS",
    "Msr",
    "address_of",
    "check",
    "holding_library",
    "library",
    "open_cpu",
]

_SUPPORTED = (2, 1)

_u64 = ctypes.c_uint64
_ptr = ctypes.c_void_p

GPRS: Mapping[str, tuple[int, ...]] = halves(
    x86_64=(
        *(x86_const.UC_X86_REG_RAX, x86_const.UC_X86_REG_RCX),
        *(x86_const.UC_X86_REG_RDX, x86_const.UC_X86_REG_RBX),
        *(x86_const.UC_X86_REG_RSP, x86_const.UC_X86_REG_RBP),
        *(x86_const.UC_X86_REG_RSI, x86_const.UC_X86_REG_RDI),
        *range(x86_const.UC_X86_REG_R8, x86_const.UC_X86_REG_R15 + 1),
    ),
    arm64=(
        *range(arm64_const.UC_ARM64_REG_X0, arm64_const.UC_ARM64_REG_X28 + 1),
        arm64_const.UC_ARM64_REG_X29,
        arm64_const.UC_ARM64_REG_X30,
        arm64_const.UC_ARM64_REG_SP,
    ),
)
"""Unicorn's numbers of the general registers by architecture, in the order of its struct."""

REGISTERS: Mapping[str, dict[str, int]] = halves(
    x86_64={
        "pc": x86_const.UC_X86_REG_RIP,
        "flags": x86_const.UC_X86_REG_EFLAGS,
        "cr0": x86_const.UC_X86_REG_CR0,
        "cr2": x86_const.UC_X86_REG_CR2,
        "cr3": x86_const.UC_X86_REG_CR3,
        "cr4": x86_const.UC_X86_REG_CR4,
        "dr0": x86_const.UC_X86_REG_DR0,
        "dr1": x86_const.UC_X86_REG_DR1,
        "dr2": x86_const.UC_X86_REG_DR2,
        "dr3": x86_const.UC_X86_REG_DR3,
        "dr7": x86_const.UC_X86_REG_DR7,
        "cs": x86_const.UC_X86_REG_CS,
        "ss": x86_const.UC_X86_REG_SS,
        "ds": x86_const.UC_X86_REG_DS,
        "es": x86_const.UC_X86_REG_ES,
    },
    arm64={
        "flags": arm64_const.UC_ARM64_REG_PSTATE,
        "pc": arm64_const.UC_ARM64_REG_PC,
    },
)
"""Unicorn's numbers of other registers by architecture and name."""

FIRST_VECTOR: Mapping[str, int] = halves(
    x86_64=x86_const.UC_X86_REG_XMM0, arm64=arm64_const.UC_ARM64_REG_Q0
)
"""Unicorn's number of vector register 0 by architecture; the others follow."""

_X86_MODELS = {
    "epyc": x86_const.UC_CPU_X86_EPYC_ROME,
    "qemu64": x86_const.UC_CPU_X86_QEMU64,
}


class Msr(ctypes.Structure):
    """An x86 model specific register, as ``uc_x86_msr``."""

    _fields_ = (("rid", ctypes.c_uint32), ("value", ctypes.c_uint64))


@cache
def library() -> ctypes.CDLL:
    """libunicorn with prototypes of plain integers (the binding's own convert at every call).

    Raises :class:`EngineError` for a version that nobody has tried.
    """
    version = tuple(unicorn.uc_version()[:2])
    if version != _SUPPORTED:
        raise EngineError(
            f"kprobesim needs Unicorn {_SUPPORTED[0]}.{_SUPPORTED[1]}.x, found "
            f"{version[0]}.{version[1]}: pip install 'unicorn>=2.1.4,<2.2'"
        )
    lib = ctypes.CDLL(uclib._name)
    for name, *arguments in (
        ("uc_reg_read", _ptr, ctypes.c_int, _ptr),
        ("uc_reg_write", _ptr, ctypes.c_int, _ptr),
        ("uc_reg_write_batch", _ptr, _ptr, _ptr, ctypes.c_int),
        ("uc_emu_start", _ptr, _u64, _u64, _u64, ctypes.c_size_t),
        ("uc_emu_stop", _ptr),
        ("uc_context_save", _ptr, _ptr),
        ("uc_context_restore", _ptr, _ptr),
        ("uc_mem_map_ptr", _ptr, _u64, _u64, ctypes.c_uint32, _ptr),
        ("uc_mem_unmap", _ptr, _u64, _u64),
        ("uc_hook_add", _ptr, _ptr, ctypes.c_int, _ptr, _ptr, _u64, _u64),
        ("uc_hook_del", _ptr, ctypes.c_size_t),
        ("uc_ctl", _ptr, ctypes.c_uint32, _u64, _u64),
        ("uc_mmio_map", _ptr, _u64, ctypes.c_size_t, _ptr, _ptr, _ptr, _ptr),
    ):
        function = getattr(lib, name)
        function.argtypes = arguments
        function.restype = ctypes.c_int
    return lib


@cache
def holding_library() -> ctypes.PyDLL:
    """The same, whose functions keep the interpreter's lock while they run."""
    return ctypes.PyDLL(library()._name)


def function_address(function: Any) -> int:
    """Where a function of a library is."""
    return ctypes.cast(function, _ptr).value or 0


def check(status: int, what: str) -> None:
    """Raise :class:`EngineError` if a C function has answered with an error."""
    if status:
        raise EngineError(f"{what}: {unicorn.UcError(status)}")


def open_cpu(arch: str, model: str = "") -> unicorn.Uc:
    """A new CPU of ``arch``; ``model`` is the x86-64 one: "epyc" (the default) or "qemu64"."""
    if arch not in _OPENERS:
        raise EngineError(f"no CPU for architecture {arch!r}: {' and '.join(_OPENERS)} are there")
    return _OPENERS[arch](model)


def _open_x86(model: str) -> unicorn.Uc:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    # The default model refuses STAC/CLAC, which kernels with SMAP execute.
    uc.ctl_set_cpu_model(_X86_MODELS[model or "epyc"])
    return uc


def _open_arm64(_model: str) -> unicorn.Uc:
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    uc.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_A72)
    uc.ctl_set_page_size(4096)  # else the TLB goes by the smallest of old ARM, 1 KiB
    return uc


_OPENERS = halves(x86_64=_open_x86, arm64=_open_arm64)


def address_of(uc: unicorn.Uc) -> int:
    """Where the CPU's own struct (``uc_struct``) is: the handle of the C functions."""
    return ctypes.cast(uc._uch, _ptr).value or 0
