"""An ARM64 system register of one engine."""

from __future__ import annotations

import ctypes
from functools import partial

from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.library import check

__all__ = ["SystemRegister"]


class _CpReg(ctypes.Structure):
    """A register by its encoding, as ``uc_arm64_cp_reg``."""

    _fields_ = (
        ("crn", ctypes.c_uint32),
        ("crm", ctypes.c_uint32),
        ("op0", ctypes.c_uint32),
        ("op1", ctypes.c_uint32),
        ("op2", ctypes.c_uint32),
        ("val", ctypes.c_uint64),
    )


class SystemRegister:
    """Reads and writes one register, by C calls whose arguments are made once (0.3 us)."""

    __slots__ = ("_fetch", "_register", "_store")

    def __init__(self, lib: ctypes.CDLL, handle: int, encoding: tuple[int, ...]) -> None:
        """Prepare the calls.

        Args:
            lib: Unicorn.
            handle: The address of the engine's ``uc_struct``.
            encoding: CRn, CRm, op0, op1, op2.
        """
        self._register = _CpReg(*encoding, 0)
        arguments = (
            ctypes.c_void_p(handle),
            ctypes.c_int(numbers.UC_ARM64_REG_CP_REG),
            ctypes.c_void_p(ctypes.addressof(self._register)),
        )
        self._fetch = partial(lib["uc_reg_read"], *arguments)
        self._store = partial(lib["uc_reg_write"], *arguments)

    def read(self) -> int:
        """The value; raises :class:`EngineError`."""
        check(self._fetch(), "system register")
        return int(self._register.val)

    def write(self, value: int) -> None:
        """Set it, which also makes an earlier PSTATE write take effect; :class:`EngineError`."""
        self._register.val = value
        check(self._store(), "system register")
