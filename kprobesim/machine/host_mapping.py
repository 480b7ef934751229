"""Files without a name, and mappings of them at a chosen address: two calls of the host's."""

from __future__ import annotations

import ctypes
import mmap
import os

from kprobesim.errors import EngineError

__all__ = ["map_private", "new_file"]

_MAP_FIXED = 0x10  # the same on Linux, the BSDs and macOS


def new_file(size: int) -> int:
    """The descriptor of a file of ``size`` zero bytes, in memory where the host can."""
    try:
        descriptor = os.memfd_create("kprobesim RAM", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        import tempfile  # it takes long to import, and most hosts need none

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def map_private(address: int, size: int, descriptor: int, start: int = 0) -> None:
    """Replace the memory at ``address`` by a private mapping of a file from ``start`` on.

    Pointers to it stay good: what is read there is the file's, what is written stays here.

    Raises:
        EngineError: The host cannot.
    """
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ctypes.c_long,
    )
    rights, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED
    if call(address, size, rights, flags, descriptor, start) != address:
        number = ctypes.get_errno()
        raise EngineError(f"mapping {size >> 20} MiB of RAM again: {os.strerror(number)}")
