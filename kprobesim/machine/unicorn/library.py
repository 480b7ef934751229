"""libunicorn: its functions with plain prototypes, its numbers for registers, its CPUs.

The official binding finds the library, and makes and frees a CPU. What is called often goes to the
C functions themselves.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn import numbers

__all__ = [
    "FIRST_VECTOR",
    "GPRS",
    "REGISTERS",
    "Msr",
    "check",
    "describe",
    "holding_library",
    "library",
]

_SUPPORTED = (2, 1)

_u64 = ctypes.c_uint64
_ptr = ctypes.c_void_p

GPRS: Mapping[str, tuple[int, ...]] = halves(
    x86_64=(
        *(numbers.UC_X86_REG_RAX, numbers.UC_X86_REG_RCX),
        *(numbers.UC_X86_REG_RDX, numbers.UC_X86_REG_RBX),
        *(numbers.UC_X86_REG_RSP, numbers.UC_X86_REG_RBP),
        *(numbers.UC_X86_REG_RSI, numbers.UC_X86_REG_RDI),
        *range(numbers.UC_X86_REG_R8, numbers.UC_X86_REG_R15 + 1),
    ),
    arm64=(
        *range(numbers.UC_ARM64_REG_X0, numbers.UC_ARM64_REG_X28 + 1),
        numbers.UC_ARM64_REG_X29,
        numbers.UC_ARM64_REG_X30,
        numbers.UC_ARM64_REG_SP,
    ),
)
"""Unicorn's numbers of the general registers by architecture, in the order of its struct."""

REGISTERS: Mapping[str, dict[str, int]] = halves(
    x86_64={
        "pc": numbers.UC_X86_REG_RIP,
        "flags": numbers.UC_X86_REG_EFLAGS,
        "cr0": numbers.UC_X86_REG_CR0,
        "cr2": numbers.UC_X86_REG_CR2,
        "cr3": numbers.UC_X86_REG_CR3,
        "cr4": numbers.UC_X86_REG_CR4,
        "dr0": numbers.UC_X86_REG_DR0,
        "dr1": numbers.UC_X86_REG_DR1,
        "dr2": numbers.UC_X86_REG_DR2,
        "dr3": numbers.UC_X86_REG_DR3,
        "dr7": numbers.UC_X86_REG_DR7,
        "cs": numbers.UC_X86_REG_CS,
        "ss": numbers.UC_X86_REG_SS,
        "ds": numbers.UC_X86_REG_DS,
        "es": numbers.UC_X86_REG_ES,
    },
    arm64={
        "flags": numbers.UC_ARM64_REG_PSTATE,
        "pc": numbers.UC_ARM64_REG_PC,
    },
)
"""Unicorn's numbers of other registers by architecture and name."""

FIRST_VECTOR: Mapping[str, int] = halves(
    x86_64=numbers.UC_X86_REG_XMM0, arm64=numbers.UC_ARM64_REG_Q0
)
"""Unicorn's number of vector register 0 by architecture; the others follow."""


class Msr(ctypes.Structure):
    """An x86 model specific register, as ``uc_x86_msr``."""

    _fields_ = (("rid", ctypes.c_uint32), ("value", ctypes.c_uint64))


@cache
def library() -> ctypes.CDLL:
    """libunicorn with prototypes of plain integers (the binding's own convert at every call).

    Raises :class:`EngineError` for a version that nobody has tried.
    """
    lib = ctypes.CDLL(_path())
    number = lib.uc_version(None, None)
    version = number >> 24 & 255, number >> 16 & 255
    if version != _SUPPORTED:
        raise EngineError(
            f"kprobesim needs Unicorn {_SUPPORTED[0]}.{_SUPPORTED[1]}.x, found "
            f"{version[0]}.{version[1]}: pip install 'unicorn>=2.1.4,<2.2'"
        )
    for name, *arguments in (
        ("uc_open", ctypes.c_int, ctypes.c_int, _ptr),
        ("uc_close", _ptr),
        ("uc_context_alloc", _ptr, _ptr),
        ("uc_context_free", _ptr),
        ("uc_context_size", _ptr),
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
    lib.uc_context_size.restype = ctypes.c_size_t
    lib.uc_strerror.restype = ctypes.c_char_p
    return lib


def _path() -> str:
    """The file that the binding would load, without a look at it where that is plain."""
    import importlib.util

    package = importlib.util.find_spec("unicorn")
    if package is None:
        raise EngineError("Unicorn is not installed: pip install 'unicorn>=2.1.4,<2.2'")
    if sys.platform == "linux" and "LIBUNICORN_PATH" not in os.environ:
        for folder in package.submodule_search_locations or ():
            file = Path(folder, "lib", "libunicorn.so.2")
            if file.is_file():
                return str(file)
    from unicorn.unicorn_py3.unicorn import uclib

    return str(uclib._name)


def describe(status: int) -> str:
    """The text of an error number."""
    return str(library().uc_strerror(status).decode())


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
        raise EngineError(f"{what}: {describe(status)}")
