"""The maps that an object defines, by the structs in its section ``.maps``."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.types.btf import Btf
from kprobesim.types.model import Array, DataSection, Pointer, Struct, Variable

__all__ = ["BpfMap", "read_maps"]

_SECTION, _TYPE = ".maps", "type"


@dataclass(frozen=True)
class BpfMap:
    """A map: its name, and the number of its type in ``enum bpf_map_type``."""

    name: str
    type: int


def read_maps(btf: Btf | None) -> tuple[BpfMap, ...]:
    """The maps of an object with these types, in order; ``__uint(type, N)`` is an array of N."""
    found = []
    for section in () if btf is None else btf.named(_SECTION, DataSection):
        for one in section.variables:
            defined = one.type.target.stripped if isinstance(one.type, Variable) else None
            member = defined.find(_TYPE) if isinstance(defined, Struct) else None
            kept = member.type.stripped if member is not None else None
            count = kept.target.stripped if isinstance(kept, Pointer) else None
            if isinstance(count, Array):
                found.append(BpfMap(one.type.name, count.count))
    return tuple(found)
