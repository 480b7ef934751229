"""How a struct is laid out: what lies between its members and behind them, and if it is packed.

Holes are counted as pahole does: behind a bit field, the bits that are left in the unit that its
type is read in are a hole of bits, and what follows that, one of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.late_dataclasses import dataclass
from kprobesim.types.model import Array, Composite, Member, Type, Union

__all__ = ["Hole", "Layout", "alignment", "bit_place", "is_packed", "layout"]

_MOST_NESTED = 64  # structs by value in structs, arrays of arrays


class Hole(NamedTuple):
    """What is unused from ``bit_offset`` on: some bits of a unit, and then whole bytes."""

    bit_offset: int
    bits: int
    bytes: int


@dataclass(frozen=True)
class Layout:
    """The members of a struct with what is between them.

    Attributes:
        members: Its members in order; those of a union all start where it starts.
        before: The hole before the member of that number.
        padding: What is behind the last; ``None`` if nothing is.
    """

    members: tuple[Member, ...]
    before: dict[int, Hole]
    padding: Hole | None


def layout(composite: Composite) -> Layout:
    """How the struct is laid out; a union has neither holes nor padding.

    Raises:
        TypesError: The types of its members make no sense.
    """
    members = composite.members
    if isinstance(composite, Union):
        return Layout(members, {}, None)
    before = {}
    end = unit = 0  # bits: of what is used, and of the units of the last bit fields
    for number, member in enumerate(members):
        size = 8 * (member.type.size or 0)
        start = 8 * bit_place(member)[0] if member.bit_size else member.bit_offset
        if member.bit_offset > end:
            # What is before a bit field in its own unit are bits as well.
            covered = max(unit, start + size) if start <= end else unit
            before[number] = _hole(end, covered, member.bit_offset)
        if member.bit_size:
            unit = max(unit, start + size)
            end = max(end, member.bit_offset + member.bit_size)
        else:
            unit = 0
            end = max(end, member.bit_offset + size)
    total = 8 * (composite.size or 0)
    return Layout(members, before, _hole(end, unit, total) if total > end else None)


def _hole(end: int, unit: int, until: int) -> Hole:
    """What is unused between two bits; the last bit field's unit ends at the bit ``unit``."""
    bits = max(0, min(unit, until) - end)
    if (until - end - bits) % 8:
        bits = (until - end) % 8
    return Hole(end, bits, (until - end - bits) // 8)


def bit_place(member: Member) -> tuple[int, int]:
    """The byte that a bit field's unit starts at, and the first of its bits there."""
    size = member.type.size or 1
    start = member.bit_offset // (8 * size) * size
    if member.bit_offset - 8 * start + member.bit_size > 8 * size:  # packed, over two units
        start = member.bit_offset // 8
    return start, member.bit_offset - 8 * start


def alignment(type: Type) -> int:
    """The bytes that an object of it is aligned to, as far as its members tell; 1 if packed.

    Raises:
        TypesError: It contains itself.
    """
    return _alignment(type, {}, 0)


def _alignment(type: Type, known: dict[Type, int], depth: int) -> int:
    here = type.stripped
    while isinstance(here, Array):
        here = here.element.stripped
        depth += 1
        if depth > _MOST_NESTED:
            break
    found = known.get(here)
    if found is not None:
        return found
    if depth > _MOST_NESTED:
        raise type.btf.damaged(f"type {type.number} contains itself, or too many others")
    if not isinstance(here, Composite):
        size = here.size
        found = min(size, 16) if size else 1
        if found & found - 1:
            found = 1
    else:
        found = 1
        misplaced = False
        for member in here.members:
            needs = _alignment(member.type, known, depth + 1)
            found = max(found, needs)
            misplaced |= not member.bit_size and member.bit_offset % (8 * needs) != 0
        if misplaced or (here.size or 0) % found:
            found = 1
    known[here] = found
    return found


def is_packed(composite: Composite) -> bool:
    """Whether it must have been packed: a member, or its end, is where none would be otherwise.

    Raises:
        TypesError: It contains itself.
    """
    known: dict[Type, int] = {}
    most = 1
    for member in composite.members:
        needs = _alignment(member.type, known, 1)
        most = max(most, needs)
        if not member.bit_size and member.bit_offset % (8 * needs):
            return True
    return bool((composite.size or 0) % most)
