"""Functions of libunicorn replaced by ours, by the means that the dynamic linker gives everybody.

An ELF library calls its own public functions through a table of addresses, one slot for each, which
the linker fills in when the library is loaded; so a program may put another function in a public
one's place (ELF specification, "Shared Object Dependencies"; ``LD_PRELOAD`` rests on it). Here a
slot is changed later. The table is found as the linker finds it: ``dlinfo()`` leads to the
library's dynamic section, and that to the relocations that name each slot's function.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Collection
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

__all__ = ["find_function", "find_slots", "one_at_a_time"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LINK_MAP = 2  # RTLD_DI_LINKMAP of dlfcn.h
_STRINGS, _STRING_BYTES, _SYMBOLS = 5, 10, 6  # DT_STRTAB, DT_STRSZ, DT_SYMTAB
_SIZE, _JUMPS = 2, 23  # DT_PLTRELSZ, DT_JMPREL
_DYNAMIC = struct.Struct("<qQ")
_RELA = struct.Struct("<QQq")
_SYMBOL_BYTES, _NAME = 24, struct.Struct("<I")
_JUMP_SLOTS = (7, 1026)  # R_X86_64_JUMP_SLOT, R_AARCH64_JUMP_SLOT


class _LinkMap(ctypes.Structure):
    _fields_ = (("base", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_size_t))


def one_at_a_time(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """``function``, which no second thread enters: it puts functions in, or learns from slots."""
    lock = threading.RLock()

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with lock:
            return function(*args, **kwargs)

    return called


def find_function(library: ctypes.CDLL, name: str) -> int:
    """The address of a public function; 0 if there is none of that name."""
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def find_slots(library: ctypes.CDLL, names: Collection[str]) -> dict[str, ctypes.c_uint64]:
    """The slots through which ``library`` calls its own functions, live, by name.

    A name is missing if nothing in the library calls it that way; all are if the slots cannot be
    written, or if there is no such table here.
    """
    places = _slots(library)
    addresses = {name: places[name] for name in names if name in places}
    areas = _writable_areas()
    if not all(any(low <= at < high for low, high in areas) for at in addresses.values()):
        return {}
    return {name: ctypes.c_uint64.from_address(at) for name, at in addresses.items()}


@cache
def _slots(library: ctypes.CDLL) -> dict[str, int]:
    """Where each slot is: some thousands, which are looked through once."""
    base, table = _dynamic_section(library)
    if not all(tag in table for tag in (_STRINGS, _STRING_BYTES, _SYMBOLS, _SIZE, _JUMPS)):
        return {}
    whole = ctypes.string_at(table[_JUMPS], table[_SIZE] // _RELA.size * _RELA.size)
    relocations = [
        (info >> 32, base + offset)
        for offset, info, _ in _RELA.iter_unpack(whole)
        if info & 0xFFFF_FFFF in _JUMP_SLOTS
    ]
    count = max((symbol for symbol, _ in relocations), default=-1) + 1
    symbols = ctypes.string_at(table[_SYMBOLS], _SYMBOL_BYTES * count)
    strings = ctypes.string_at(table[_STRINGS], table[_STRING_BYTES])
    found = {}
    for symbol, at in relocations:
        (start,) = _NAME.unpack_from(symbols, _SYMBOL_BYTES * symbol)
        found[strings[start : strings.find(b"\0", start)].decode()] = at
    return found


def _dynamic_section(library: ctypes.CDLL) -> tuple[int, dict[int, int]]:
    """Where ``library`` lies, and the entries of its dynamic section; none where nobody tells.

    glibc has made addresses of the offsets in there, musl has not.
    """
    dlinfo = getattr(ctypes.CDLL(None), "dlinfo", None)
    if dlinfo is None:
        return 0, {}
    dlinfo.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
    found = ctypes.POINTER(_LinkMap)()
    if dlinfo(library._handle, _LINK_MAP, ctypes.addressof(found)):
        return 0, {}
    table: dict[int, int] = {}
    at = found.contents.dynamic
    while True:
        tag, value = _DYNAMIC.unpack(ctypes.string_at(at, _DYNAMIC.size))
        if not tag:
            break
        table[tag] = value
        at += _DYNAMIC.size
    base = found.contents.base
    for tag in (_STRINGS, _SYMBOLS, _JUMPS):
        if tag in table and table[tag] < base:
            table[tag] += base
    return base, table


def _writable_areas() -> list[tuple[int, int]]:
    areas = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        area, rights, *_ = line.split(maxsplit=2)
        if "w" in rights:
            low, high = (int(part, 16) for part in area.split("-"))
            areas.append((low, high))
    return areas
