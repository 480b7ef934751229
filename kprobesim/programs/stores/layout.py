"""Values side by side in memory: the fields of a record, the parts of a key.

Integers stand where they are aligned, strings are whole words padded with NULs. Where a value may
be a fault there is one word more, with a bit for each that is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from kprobesim.extras import needed
from kprobesim.programs.actions import Keyed, Record
from kprobesim.programs.fault import FAULT
from kprobesim.programs.types import Int, Str, Type

__all__ = ["Packed", "layout_of_key", "layout_of_record"]

_INT = {1: "b", 2: "h", 4: "i", 8: "q"}


class Packed:
    """Where each of some values is.

    Attributes:
        offsets: In bytes, in the order of the values.
        sizes: Of each, in bytes.
        faults: The offset of the word of faults; ``None``: none can be.
        size: Bytes of all; a multiple of 8.
        unpack_plain: As :meth:`unpack`, faster, where all are numbers that are never faults, nor
            truths; ``None``: they are not.
    """

    def __init__(self, types: Sequence[Type], *, wide: bool = False, fallible: bool) -> None:
        """Lay out values of ``types``; ``wide``: each integer takes a word, as in a key."""
        at, offsets, sizes, pattern = 0, [], [], "<"
        for kind in types:
            size = 8 if wide and isinstance(kind, Int) else kind.size
            align = min(size, 8)
            gap = -at % align
            offsets.append(at + gap)
            sizes.append(size)
            letter = _INT[size] if isinstance(kind, Int) else f"{size}s"
            if isinstance(kind, Int) and not kind.signed:
                letter = letter.upper()
            pattern += f"{gap}x{letter}"
            at += gap + size
        gap = -at % 8
        pattern += f"{gap}x"
        at += gap
        self.types = tuple(types)
        self.offsets, self.sizes = tuple(offsets), tuple(sizes)
        self.faults = at if fallible else None
        self.size = at + 8 * fallible
        self._struct = Struct(pattern + "Q" * fallible)
        is_plain = all(isinstance(kind, Int) and kind.bits > 1 for kind in types)
        self.unpack_plain = self._struct.unpack_from if is_plain and not fallible else None

    def pack(self, values: Sequence[Any]) -> bytes:
        """The bytes of ``values``, of which some may be ``FAULT``."""
        faults = sum(1 << n for n, value in enumerate(values) if value is FAULT)
        plain = [
            (b"" if isinstance(kind, Str) else 0) if value is FAULT else value
            for value, kind in zip(values, self.types, strict=True)
        ]
        return self._struct.pack(*plain, *([faults] if self.faults is not None else []))

    def unpack(self, data: Any, at: int = 0) -> list[Any]:
        """The values at ``at``: integers, ``str`` and ``FAULT``."""
        values: list[Any] = list(self._struct.unpack_from(data, at))
        faults = values.pop() if self.faults is not None else 0
        for n, kind in enumerate(self.types):
            if faults >> n & 1:
                values[n] = FAULT
            elif isinstance(kind, Str):
                text: bytes = values[n]
                values[n] = text.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
            elif kind.bits == 1:
                values[n] = bool(values[n])
        return values

    def dtype(self, names: Sequence[str]) -> Any:
        """The ``numpy.dtype`` of the values by ``names``, the word of faults as "_faults"."""
        numpy = needed("numpy", "jit")
        formats = [
            f"<{'ui'[kind.signed]}{size}" if isinstance(kind, Int) else f"S{size}"
            for kind, size in zip(self.types, self.sizes, strict=True)
        ]
        names, offsets = [*names], [*self.offsets]
        if self.faults is not None:
            names.append("_faults")
            formats.append("<u8")
            offsets.append(self.faults)
        return numpy.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "itemsize": self.size}
        )


def layout_of_key(action: Keyed) -> Packed:
    """How the keys of an action are laid out: each integer takes a word."""
    fallible = any(value.fallible for value in action.key)
    return Packed([value.type for value in action.key], wide=True, fallible=fallible)


def layout_of_record(action: Record) -> Packed:
    """How the records of an action are laid out."""
    values = list(action.values)
    return Packed([v.type for v in values], fallible=any(v.fallible for v in values))
