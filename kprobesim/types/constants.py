"""``enum_with``: which enum a constant is of."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.types.btf import Btf
from kprobesim.types.model import Enum

__all__ = ["enum_with"]


def enum_with(constant: str, types: Sequence[Btf]) -> Enum | None:
    """The first enum that has a value named ``constant``; ``None`` if none has.

    Raises:
        TypesError: A type makes no sense or is cut short.
    """
    for btf in types:
        for offset in btf.string_offsets(constant):
            records = btf.records(offset)
            holders = btf.of(Enum) if records is None else map(btf.around, records)
            for found in holders:
                if isinstance(found, Enum) and any(v.name == constant for v in found.values):
                    return found
    return None
