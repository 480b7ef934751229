"""Where Unicorn keeps what it knows of addresses: its TLBs, and its cache of jumps.

All lie in the CPU's own struct, before the registers (QEMU 5.0, include/hw/core/cpu.h, exec/cpu-
defs.h). Of each way to access memory - a privilege level, mostly - there is a TLB: a descriptor,
and a table of entries and one of attributes, which it points to. Nothing about the struct is
assumed: Unicorn's own functions are called on a CPU that runs nothing, to see what they change.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from kprobesim.errors import EngineError
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.learned import learned
from kprobesim.machine.unicorn.library import function_address, library
from kprobesim.sizes import MASK64

__all__ = ["TlbLayout", "libc", "tlb_layout"]

_ENTRIES = 256  # of a new table: CPU_TLB_DYN_DEFAULT_BITS
_COMMON = 4  # words before the first descriptor: which are not empty, and three counts
_CHANGES = 3  # of each TLB, when it is made anew: a time, and where both tables are
_TICK = 1e-5  # seconds, in which that time has gone on
_TIME_AT = 2  # that time, among the words of a descriptor


@dataclass(frozen=True)
class TlbLayout:
    """Places are in words, from where the CPU is, if nothing else is said.

    Attributes:
        first: The first descriptor; behind the last one are the masks and the tables of entries.
        words: All of both.
        masks: By TLB, from ``first``: the mask of its index, in bytes; then its table of entries.
        attributes: By TLB, from ``first``: its table of attributes.
        entry_bytes: Of an entry.
        attribute_bytes: Of the attributes of an entry, or more.
        dirty: The word of which each bit says that a TLB may not be empty.
        counter: A count that nobody but statistics looks at.
        jumps: The cache of jumps.
        jump_words: How many.
    """

    first: int
    words: int
    masks: Sequence[int]
    attributes: Sequence[int]
    entry_bytes: int
    attribute_bytes: int
    dirty: int
    counter: int
    jumps: int
    jump_words: int


@cache
def libc(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the C library, which Unicorn's memory comes from, too."""
    function = getattr(ctypes.CDLL(None), name)
    function.restype, function.argtypes = result, arguments
    return function


@cache
def tlb_layout(arch: str) -> TlbLayout:
    """The layout for guests of ``arch``, measured once.

    Raises:
        EngineError: It is not as it was; is this a new version of Unicorn?
    """
    names = {field.name for field in fields(TlbLayout)}
    found = learned(f"TLB of {arch}", lambda: _measure(arch), lambda fact: set(fact) == names)
    return TlbLayout(**found)


def _function(name: str, arch: str) -> Any:
    address = function_address(getattr(library(), f"{name}_{SUFFIXES[arch]}"))
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)


def _measure(arch: str) -> dict[str, Any]:
    engine = Engine(arch)
    cpu = engine.code_pages.cpu
    init, flush = _function("tlb_init", arch), _function("tlb_flush", arch)
    words = (ctypes.c_uint64 * ((engine.registers_address - cpu) // 8)).from_address(cpu)
    flush(cpu)
    kept = words[:]
    init(cpu)  # a flush makes tables smaller that have not been used for 100 ms
    before = words[:]
    time.sleep(_TICK)
    init(cpu)
    made = words[:]
    changed = [n for n, (one, two) in enumerate(zip(before, made, strict=True)) if one != two]
    found = _describe(changed, made)
    places = [found["first"] + n + 1 for n in found["masks"]]
    places += [found["first"] + n for n in found["attributes"]]
    usable = libc("malloc_usable_size", ctypes.c_size_t, ctypes.c_void_p)
    found["attribute_bytes"] = usable(made[places[-1]]) // _ENTRIES
    for place in places:
        libc("free", None, ctypes.c_void_p)(before[place])
        libc("free", None, ctypes.c_void_p)(made[place])
    for number, word in enumerate(kept):
        words[number] = word
    found["counter"] = _find_counter(words, found["dirty"], len(found["masks"]), flush, cpu)
    jumps = _find_jumps(words, found["dirty"], flush, cpu)
    return {**found, "jumps": jumps.start, "jump_words": len(jumps)}


def _describe(changed: Sequence[int], made: Sequence[int]) -> dict[str, Any]:
    """What the words that are ``changed`` tell of the TLBs, which were ``made`` anew."""
    count = len(changed) // _CHANGES
    times, attributes = changed[: 2 * count : 2], changed[1 : 2 * count : 2]
    tables = changed[2 * count :]
    if not 0 < count < 16 or len(changed) != _CHANGES * count:
        raise _strange(f"{len(changed)} words of the TLBs")
    start, end = times[0] - _TIME_AT, attributes[-1] + 1
    size = (end - start) // count
    entry_bytes = made[tables[0] - 1] // (_ENTRIES - 1)
    masks = [table - 1 for table in tables]
    expected = (
        times == [start + _TIME_AT + size * n for n in range(count)],
        attributes == [start + size * (n + 1) - 1 for n in range(count)],
        masks == [*range(masks[0], masks[0] + 2 * count, 2)] and 0 <= masks[0] - end <= 1,
        all(made[n] == (_ENTRIES - 1) * entry_bytes for n in masks),
        entry_bytes in (32, 64),
    )
    if not all(expected):
        raise _strange("the TLBs")
    return {
        "first": start,
        "words": tables[-1] + 1 - start,
        "masks": [n - start for n in masks],
        "attributes": [n - start for n in attributes],
        "entry_bytes": entry_bytes,
        "dirty": start - _COMMON,
    }


def _find_counter(words: Any, dirty: int, count: int, flush: Any, cpu: int) -> int:
    """The count of complete flushes, behind the word of those that are not empty."""
    words[dirty] = (1 << count) - 1
    words[dirty + 1] = 1000
    flush(cpu)
    if words[dirty] or words[dirty + 1] != 1001:
        raise _strange("the count of flushes")
    return dirty + 1


def _find_jumps(words: Any, end: int, flush: Any, cpu: int) -> range:
    """The words that are 0 behind a flush, whatever they were before it."""
    empty = [n for n in range(end) if not words[n]]
    for n in empty:
        words[n] = MASK64
    flush(cpu)
    cleared = [n for n in empty if not words[n]]
    for n in empty:
        words[n] = 0
    found = range(cleared[0], cleared[-1] + 1) if cleared else range(0)
    if len(found) != len(cleared) or len(found) < _ENTRIES or len(found) & len(found) - 1:
        raise _strange("the cache of jumps")
    return found


def _strange(what: str) -> EngineError:
    return EngineError(f"cannot tell where Unicorn keeps {what}; is this a new version of it?")
