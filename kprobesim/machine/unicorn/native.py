"""A function of the host's machine code that the engine calls by itself: no Python is on its way.

Its signature is that of Unicorn's callbacks of code and blocks (``uc_cb_hookcode_t``)::

    void function(uc_engine *uc, uint64_t address, uint32_t size, void *data)

It may read and write ``engine.words``, the registers, which stay where they are as long as the
engine lives; but the program counter among them may be an older one: ``address`` says where the CPU
stands. ``size`` may be 0 where nobody knows it. It must not stop the engine, move the CPU, or call
into Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["SIGNATURE", "Native", "caller_of"]

_ARGUMENTS = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
_FUNCTION = ctypes.PYFUNCTYPE(None, *_ARGUMENTS)
SIGNATURE = ctypes.CFUNCTYPE(None, *_ARGUMENTS)
"""Makes such a function of one of Python's, which must raise nothing."""


class Native(NamedTuple):
    """Such a function.

    Attributes:
        function: Its address in this process.
        data: What it is given as ``data``.
        keep: Whatever must live as long as it may be called: the code and what it writes to.
    """

    function: int
    data: int
    keep: object


def caller_of(function: int, handle: int) -> Callable[[int, int], None]:
    """Who calls a function from Python, whatever its data: ``call(address, data)``.

    Args:
        function: Its address.
        handle: Of the engine.
    """
    of_python = _FUNCTION(function)

    def call(address: int, data: int) -> None:
        of_python(handle, address, 0, data)

    return call
