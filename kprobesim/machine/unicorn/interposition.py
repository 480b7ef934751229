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

from kprobesim.machine.unicorn.learned import learned

__all__ = ["base_of", "find_function", "find_slots", "is_code", "one_at_a_time"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LINK_MAP = 2  # RTLD_DI_LINKMAP of dlfcn.h
_STRINGS, _STRING_BYTES, _SYMBOLS = 5, 10, 6  # DT_STRTAB, DT_STRSZ, DT_SYMTAB
_SIZE, _JUMPS = 2, 23  # DT_PLTRELSZ, DT_JMPREL
_DYNAMIC = struct.Struct("<qQ")
_RELA_BYTES, _SYMBOL_BYTES = 24, 24
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
    base, offsets = base_of(library), {}
    for name in names:

        def find(name: str = name) -> int | None:
            at = _slots(library).find(name)
            return None if at is None else at - base

        offset = learned(f"slot of {name}", find, lambda at: at is None or leads_to_code(base + at))
        if offset is not None:
            offsets[name] = offset
    if not all(_is_in(base + at, "w") for at in offsets.values()):
        return {}
    return {name: ctypes.c_uint64.from_address(base + at) for name, at in offsets.items()}


def leads_to_code(slot: int) -> bool:
    """Whether at the address ``slot`` is a word that may be written, and is the address of code."""
    return _is_in(slot, "w") and _is_in(ctypes.c_uint64.from_address(slot).value, "x")


def is_code(address: int) -> bool:
    """Whether there is code of a library at ``address``."""
    return _is_in(address, "x")


class _Slots:
    """Where each slot is, by the place of its function's name in the table of strings.

    There are some thousands, of which a dozen are asked for.
    """

    def __init__(self, strings: bytes, slots: dict[int, int]) -> None:
        self._strings = strings
        self._slots = slots

    def find(self, name: str) -> int | None:
        """The slot of the function ``name``; one string may be the end of another."""
        wanted, strings = name.encode() + b"\0", self._strings
        at = strings.find(wanted)
        while at >= 0:
            if at in self._slots:
                return self._slots[at]
            at = strings.find(wanted, at + 1)
        return None


@cache
def _slots(library: ctypes.CDLL) -> _Slots:
    base, table = _dynamic_section(library)
    if not all(tag in table for tag in (_STRINGS, _STRING_BYTES, _SYMBOLS, _SIZE, _JUMPS)):
        return _Slots(b"", {})
    whole = ctypes.string_at(table[_JUMPS], table[_SIZE] // _RELA_BYTES * _RELA_BYTES)
    words = memoryview(whole).cast("Q")
    jumps = [
        (info >> 32, base + offset)
        for offset, info in zip(words[0::3], words[1::3], strict=True)
        if info & 0xFFFF_FFFF in _JUMP_SLOTS
    ]
    count = max((symbol for symbol, _ in jumps), default=-1) + 1
    symbols = ctypes.string_at(table[_SYMBOLS], _SYMBOL_BYTES * count)
    names = memoryview(symbols).cast("I")[:: _SYMBOL_BYTES // 4]
    strings = ctypes.string_at(table[_STRINGS], table[_STRING_BYTES])
    return _Slots(strings, {names[symbol]: at for symbol, at in jumps})


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


@cache
def base_of(library: ctypes.CDLL) -> int:
    """Where ``library`` lies; 0 where nobody tells."""
    return _dynamic_section(library)[0]


def _is_in(address: int, right: str) -> bool:
    """Whether ``address`` may be used so: "w" or "x"."""
    return any(low <= address < high and right in rights for low, high, rights in _areas())


@cache
def _areas() -> list[tuple[int, int, str]]:
    """What is mapped now that libraries are loaded, which stay."""
    areas = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        area, rights, *_ = line.split(maxsplit=2)
        low, _, high = area.partition("-")
        areas.append((int(low, 16), int(high, 16), rights))
    return areas
