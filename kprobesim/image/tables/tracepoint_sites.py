"""Where a tracepoint is passed: the jump labels of its key.

``trace_NAME()`` (include/linux/tracepoint.h) is a jump label that is a NOP as long as nobody wants
the tracepoint, and code behind a jump that calls whoever does. ``__jump_table`` tells, for each
label, the key that switches it, and the key of a tracepoint is the second member of its ``struct
tracepoint``, whose first is its name (5.10 to 7.3); so no symbol of data is needed. Modules have
such tables, too, also with keys of the kernel's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kprobesim.errors import GuestMemoryError, ImageError

if TYPE_CHECKING:
    from kprobesim.image.kernel_image import KernelImage
    from kprobesim.types.btf import Btf

__all__ = ["TracepointSites", "regfunc_of", "sites_by_name", "tracepoint_sites"]

_ENTRY = struct.Struct("<iiq")  # struct jump_entry, each word as a distance from itself
_KEY = 8  # of the key in struct tracepoint
_KEY_FLAGS = 3
_LONGEST_NAME = 128
_ITERATOR = "__traceiter_"

Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class TracepointSites:
    """One tracepoint of the kernel.

    Attributes:
        places: Its jump labels in the kernel's own code, by address.
        prepares: The function that the kernel calls before the first of its probes is there
            (``regfunc``); "" if there is none. What such a function switches on may be what leads
            to the tracepoint at all.
    """

    places: tuple[int, ...]
    prepares: str = ""


def sites_by_name(start: int, table: bytes, read: Read) -> dict[str, list[tuple[int, int]]]:
    """The labels whose key may be of a tracepoint, by its name, and where that would be.

    Keys that are no tracepoint's have a name by chance at most: who asks for the names of
    tracepoints gets theirs.

    Args:
        start: Where the table lies.
        table: Its bytes.
        read: Reads ``size`` bytes at an address, or raises an error of ours.
    """
    by_key: dict[int, list[int]] = {}
    for number, (place, _, key) in enumerate(_ENTRY.iter_unpack(table[: len(table) & ~15])):
        at = start + _ENTRY.size * number
        by_key.setdefault((at + 8 + key) & ~_KEY_FLAGS, []).append(at + place)
    found: dict[str, list[tuple[int, int]]] = {}
    for key, places in by_key.items():
        name = _name(read, key - _KEY)
        if name:
            found.setdefault(name, []).extend((place, key - _KEY) for place in places)
    return found


def tracepoint_sites(image: KernelImage) -> dict[str, TracepointSites]:
    """The tracepoints of a kernel that have a jump label in its own code, by name.

    Raises:
        ImageError: The kernel's types do not say how its ``struct tracepoint`` looks.
    """
    btf = image.btf
    iterator = None if btf is None else btf.offset("tracepoint", "iterator")
    if btf is None or iterator is None or btf.offset("tracepoint", "key") != _KEY:
        raise ImageError(image.path, "does not tell how its struct tracepoint looks (no BTF)")
    found = {}
    for name, rows in sites_by_name(*image.jump_table, image.read).items():
        iterators = {symbol.address for symbol in image.symbols.candidates(_ITERATOR + name)}
        mine = [row for row in rows if _word(image.read, row[1] + iterator) in iterators]
        if not mine:
            continue
        function = regfunc_of(btf, image.read, mine[0][1])
        known = image.symbols.at(function) if function else None
        prepares = known.symbol.name if known is not None else ""
        found[name] = TracepointSites(tuple(place for place, _ in mine), prepares)
    return found


def regfunc_of(btf: Btf, read: Read, tracepoint: int) -> int:
    """The function that is called when a ``struct tracepoint`` gets its first probe; 0: none."""
    before = btf.offset("tracepoint", "regfunc")
    if before is not None:
        return _word(read, tracepoint + before)
    behind = btf.offset("tracepoint", "ext")  # the same in a struct of its own (6.14)
    more = 0 if behind is None else _word(read, tracepoint + behind)
    return _word(read, more + (btf.offset("tracepoint_ext", "regfunc") or 0)) if more else 0


def _word(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 8), "little")


def _name(read: Read, tracepoint: int) -> str:
    """What the first member points at, if that is a name."""
    try:
        text = _text(read, _word(read, tracepoint))
    except (ImageError, GuestMemoryError):
        return ""
    name = text.decode("ascii", "replace")
    return name if name.isidentifier() else ""


def _text(read: Read, address: int) -> bytes:
    """The string at an address, at most as long as a name may be; read up to the end of a page."""
    text = b""
    while b"\0" not in text and len(text) < _LONGEST_NAME:
        text += read(address + len(text), 16 - (address + len(text)) % 16)
    return text.partition(b"\0")[0]
