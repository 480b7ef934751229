"""Alternatives on ARM64: pieces of code that the kernel replaces by ones that fit its CPU.

Facts: arch/arm64/kernel/alternative.c, 5.10 to 7.2. ``struct alt_instr`` is the same in all of
them: distances to the place and to the replacement (or to a function that makes it up), the number
of a capability, the lengths of the place and of the replacement.
"""

from __future__ import annotations

import struct
from collections.abc import Container

from kprobesim.image.tables.discover import find_records
from kprobesim.patching.arm64.callbacks import CALLBACKS
from kprobesim.patching.arm64.words import move
from kprobesim.patching.text import Code

__all__ = ["apply_alternatives"]

TABLE = ("__alt_instructions", "__alt_instructions_end", ".altinstructions")

_ENTRY = struct.Struct("<iiHBB")
_CALLBACK = 1 << 15  # in the capability's number, since 5.18
_MOST_CAPABILITIES = 256


def apply_alternatives(code: Code, capabilities: Container[int]) -> None:
    """Write what a CPU with ``capabilities`` gets."""
    start, table = code.image.table(*TABLE) or _find(code)
    callbacks = {
        address: callback
        for name, callback in CALLBACKS.items()
        if (address := code.symbol(name)) is not None
    }
    rows = _ENTRY.iter_unpack(table[: len(table) // _ENTRY.size * _ENTRY.size])
    for number, (place, replacement, capability, length, replacement_length) in enumerate(rows):
        by_function = replacement_length == 0
        always = by_function and not capability & _CALLBACK  # before 5.18
        if not always and capability & ~_CALLBACK not in capabilities:
            continue
        at = start + number * _ENTRY.size
        place += at
        replacement += at + 4
        if not length or length % 4 or not code.holds(place, length):
            continue
        words = f"<{length // 4}I"
        old = list(struct.unpack(words, code.read(place, length)))
        if by_function:
            callback = callbacks.get(replacement)
            new = callback(old) if callback else old
        else:
            moved = struct.unpack(words, code.read(replacement, length))
            high = replacement + length
            new = [
                move(word, replacement + 4 * index, place + 4 * index, replacement, high)
                for index, word in enumerate(moved)
            ]
        if new != old:
            code.write(place, struct.pack(words, *new))


def _find(code: Code) -> tuple[int, bytes]:
    """The table by its shape, in an image that names its functions only."""
    image = code.image

    def plausible(place: int, replacement: int, record: bytes) -> bool:
        capability, length, replacement_length = struct.unpack_from("<HBB", record, 8)
        return (
            capability & ~_CALLBACK < _MOST_CAPABILITIES
            and replacement_length in (0, length)
            and length % 4 == 0
            and place % 4 == 0
            and image.is_code(place)
            and image.is_code(replacement)
        )

    bounds = image.bounds("_einittext", "_edata")  # it is freed with the code of the boot
    if bounds is None:
        return find_records(image.segments, (_ENTRY.size,), plausible)
    parts = [part for s in image.segments if (part := s.part(*bounds)) is not None]
    return find_records(parts, (_ENTRY.size,), plausible)
