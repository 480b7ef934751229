"""Types as plain data, for JSON: what C text says, in parts."""

from __future__ import annotations

from typing import Any

from kprobesim.types.c_text import declaration, definition, prototype
from kprobesim.types.layout import Hole, is_packed, layout
from kprobesim.types.model import (
    Composite,
    DataSection,
    Enum,
    Function,
    Int,
    Member,
    Struct,
    Type,
    Typedef,
    Variable,
)

__all__ = ["as_data"]


def as_data(type: Type) -> dict[str, Any]:
    """The type with its size in bytes, and what its kind has: offsets are in bytes, too.

    Raises:
        TypesError: It leads back to itself, or refers to one that is not there.
    """
    text = definition(type)  # raises what there is to raise, before anything goes deeper
    found: dict[str, Any] = {"kind": type.kind, "name": type.name, "number": type.number}
    if type.size is not None:
        found["size"] = type.size
    if isinstance(type, Composite):
        found |= _inside(type, 0)
    elif isinstance(type, Enum):
        found |= {"signed": type.is_signed, "values": [v._asdict() for v in type.values]}
    elif isinstance(type, Int):
        found |= {"signed": type.is_signed, "bits": type.bits}
    elif isinstance(type, Function):
        found |= {
            "prototype": prototype(type),
            "returns": declaration(type.returns),
            "parameters": [
                {"name": each.name, "type": declaration(each.type)} for each in type.parameters
            ],
            "variadic": type.prototype.is_variadic,
            "linkage": type.linkage,
        }
    elif isinstance(type, (Typedef, Variable)):
        found["type"] = declaration(type.target) if _is_named(type.target) else type.target.kind
        inner = type.target.stripped
        if isinstance(inner, Composite) and not inner.name:
            found |= _inside(inner, 0)
    elif isinstance(type, DataSection):
        found["variables"] = [
            {"name": each.type.name, "offset": each.offset, "size": each.size}
            for each in type.variables
        ]
    return found | {"c": text}


def _inside(composite: Composite, start: int) -> dict[str, Any]:
    """Members, holes and padding of what starts at the bit ``start``."""
    laid_out = layout(composite)
    found: dict[str, Any] = {
        "members": [_member(each, start) for each in laid_out.members],
        "packed": isinstance(composite, Struct) and is_packed(composite),
        "holes": [_hole(each, start) for each in laid_out.before.values()],
    }
    if laid_out.padding is not None:
        found["padding"] = _hole(laid_out.padding, start)
    return found


def _member(member: Member, start: int) -> dict[str, Any]:
    bits = start + member.bit_offset
    found: dict[str, Any] = {"name": member.name, "offset": bits // 8, "size": member.type.size}
    if member.bit_size:
        found |= {"bit_offset": bits, "bit_size": member.bit_size}
    inner = member.type.stripped
    if isinstance(inner, Composite) and not inner.name and not isinstance(member.type, Typedef):
        return found | {"type": inner.kind} | _inside(inner, bits)
    return found | {"type": declaration(member.type) if _is_named(member.type) else inner.kind}


def _hole(hole: Hole, start: int) -> dict[str, int]:
    return {"bit_offset": start + hole.bit_offset, "bits": hole.bits, "bytes": hole.bytes}


def _is_named(type: Type) -> bool:
    """Whether its declaration is a line, and nothing anonymous is written out in it."""
    return "\n" not in declaration(type)
