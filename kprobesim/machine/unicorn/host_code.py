"""Machine code for the host: written as a listing, put into memory that is never given back."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from kprobesim.errors import EngineError

__all__ = ["Placed", "assemble", "host_machine", "put_code", "put_functions"]

_PAGE = 4096


class Placed:
    """Code that was put somewhere: its own address, that of the area behind it, and its words."""

    def __init__(self, address: int, words: int) -> None:
        self.code = address + _PAGE
        self.area = address + 2 * _PAGE
        self.words = (ctypes.c_uint64 * words).from_address(address)


@cache
def host_machine() -> str:
    """What this computer is, as :func:`platform.machine` says."""
    if hasattr(os, "uname"):
        return os.uname().machine
    import platform  # 2 ms

    return platform.machine()


def assemble(listing: str) -> tuple[bytes, dict[str, int]]:
    """The machine code of a listing, and where in it each label stands."""
    code, labels = bytearray(), {}
    for line in listing.split("\n"):
        if line.endswith(":"):
            labels[line[:-1]] = len(code)
        elif line:
            code += bytes.fromhex(line.split()[0])
    return bytes(code), labels


def put_functions(listings: Mapping[str, str]) -> dict[str, int] | None:
    """Put functions into memory that use nothing but their arguments.

    Args:
        listings: By the host's architecture.

    Returns:
        Where each label is; ``None``: there is no listing for this computer, or it lets no program
        make code.
    """
    listing = listings.get(host_machine())
    if listing is None:
        return None
    code, labels = assemble(listing)
    try:
        placed = _put(code, 0, 0)
    except EngineError:
        return None
    return {name: placed.code + offset for name, offset in labels.items()}


def put_code(
    code: bytes, words: Sequence[str], values: Mapping[str, int], area: str, size: int
) -> Placed:
    """Put ``code`` into memory that nobody ever gives back: a thread may be in it to the end.

    Args:
        code: At most a page.
        words: What lies in the page before it, by name.
        values: Of these words; the others are 0.
        area: The word that gets the address of an area behind the code.
        size: Of that area, in bytes.

    Raises:
        EngineError: There is no memory, or this computer lets no program make code.
    """
    placed = _put(code, len(words), size)
    values = {**dict.fromkeys(words, 0), **values, area: placed.area}
    placed.words[:] = [values[name] for name in words]
    return placed


def _put(code: bytes, words: int, size: int) -> Placed:
    placed = Placed(_map(2 * _PAGE + size), words)
    ctypes.memmove(placed.code, code, len(code))
    _make_executable(placed.code, _PAGE)
    return placed


def _libc(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype, function.argtypes = result, arguments
    return function


def _map(size: int) -> int:
    """The address of ``size`` zeroed bytes that nobody ever gives back."""
    void, number = ctypes.c_void_p, ctypes.c_int
    call = _libc("mmap", void, void, ctypes.c_size_t, number, number, number, ctypes.c_long)
    rights, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = call(None, size, rights, flags, -1, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise EngineError("this computer has no memory left for a few functions")
    return int(address)


def _make_executable(address: int, size: int) -> None:
    call = _libc("mprotect", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if call(address, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise EngineError("this computer lets no program make code of its own, as Unicorn must")
