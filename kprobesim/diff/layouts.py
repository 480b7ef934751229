"""Which structs, unions and enums differ, by name: members gone, retyped, added, moved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from kprobesim.diff.change import Change, Difference
from kprobesim.diff.texts import Texts
from kprobesim.types.model import Composite, Enum, Type

__all__ = ["Layouts", "changed_types"]

#: The type, the place in bits and the width of each member, by its name.
_Members = dict[str, tuple[str, int, int]]


class Layouts:
    """The structs, unions and enums of one kernel that have a name and a definition."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    @cached_property
    def types(self) -> Mapping[str, tuple[Type, ...]]:
        """All of each name, as ``struct file``."""
        found: dict[str, tuple[Type, ...]] = {}
        for each in self.texts.btf.of(Composite, Enum):
            if each.name:
                name = f"{'enum' if isinstance(each, Enum) else each.kind} {each.name}"
                found[name] = (*found[name], each) if name in found else (each,)
        return found

    def members(self, type: Composite) -> _Members:
        """Its members, those of anonymous ones counted."""
        return {
            member.name: (self.texts.of(member.type), member.bit_offset, member.bit_size)
            for member in type.flat()
            if member.name
        }


def changed_types(
    old: Layouts, new: Layouts, wanted: Mapping[str, Collection[str]] | None
) -> Iterator[Difference]:
    """The types that are not what they were.

    Args:
        old: Those of the old kernel.
        new: Those of the new one.
        wanted: Only these, by name as ``struct file``, and of them only these members if there are
            any; all by default.
    """
    for name, before in old.types.items():
        if wanted is not None and name not in wanted:
            continue
        after = new.types.get(name, ())
        only = set(wanted[name]) if wanted is not None else set[str]()
        if not after:
            yield Difference(Change.TYPE_GONE, name, details=_instead(name, new))
            continue
        was = [old.texts.of_definition(each) for each in before]
        now = [new.texts.of_definition(each) for each in after]
        # Several types may share a name; one that is still there as it was is not looked at.
        left = [each for each, shape in zip(before, was, strict=True) if shape not in now]
        right = [each for each, shape in zip(after, now, strict=True) if shape not in was]
        for one, other in zip(left, right, strict=False):
            found = _difference(old, new, name, one, other, only)
            if found is not None:
                yield found
        for _ in left[len(right) :]:
            yield Difference(Change.TYPE_GONE, name, details=("another of that name is there",))


def _instead(name: str, new: Layouts) -> tuple[str, ...]:
    """The same name as another kind."""
    word, _, rest = name.partition(" ")
    others = [f"{kind} {rest}" for kind in ("struct", "union", "enum") if kind != word]
    return tuple(f"there is {other}" for other in others if other in new.types)


def _difference(
    old: Layouts, new: Layouts, name: str, one: Type, other: Type, only: Collection[str]
) -> Difference | None:
    if isinstance(one, Composite) and isinstance(other, Composite):
        was, now = old.members(one), new.members(other)
    elif isinstance(one, Enum) and isinstance(other, Enum):
        was = {each.name: (str(each.value), 0, 0) for each in one.values}
        now = {each.name: (str(each.value), 0, 0) for each in other.values}
    else:
        return None
    if only:
        was = {member: place for member, place in was.items() if member in only}
        now = {member: place for member, place in now.items() if member in only}
    end = _end(was) if _end(was) == _end(now) else None
    bad = [*_gone(was, now), *_retyped(was, now, end)]
    added = [f"+ {_member(each, now)}" for each in now if each not in was]
    moved = [
        f"> {end}: {now[end][0]}, was {was[end][0]}"
        for end in ([end] if end is not None and was[end] != now[end] else [])
    ] + [
        f"> {member}: at {_place(now[member])}, was at {_place(was[member])}"
        for member in was
        if member in now and was[member][1:] != now[member][1:]
    ]
    if not bad and not added and not moved and (only or one.size == other.size):
        return None
    sizes = (f"{one.size} bytes", f"{other.size} bytes")
    change = Change.TYPE if bad else Change.LAYOUT
    return Difference(change, name, *sizes, details=(*bad, *added, *moved))


def _gone(was: _Members, now: _Members) -> Iterator[str]:
    for member in was:
        if member not in now:
            yield f"- {_member(member, was)}"


def _end(members: _Members) -> str | None:
    """The mark behind the last value of an enum, as ``NR_X``: it moves whenever one is added."""
    values = {name: text for name, (text, _, _) in members.items() if text.lstrip("-").isdigit()}
    return max(values, key=lambda name: int(values[name]), default=None)


def _retyped(was: _Members, now: _Members, end: str | None) -> Iterator[str]:
    for member, (text, _, _) in was.items():
        if member in now and now[member][0] != text and member != end:
            yield f"! {member}: {_short(now[member][0])}, was {_short(text)}"


def _member(name: str, members: _Members) -> str:
    text = _short(members[name][0])
    return f"{name} = {text}" if text.lstrip("-").isdigit() else f"{name}: {text}"


def _short(text: str) -> str:
    """A type in one line; what is anonymous is not written out."""
    head, brace, _ = text.partition(" {")
    return f"{head} {{...}}" if brace else text


def _place(place: tuple[str, int, int]) -> str:
    _, bits, width = place
    return f"{bits // 8}:{bits % 8}" if width or bits % 8 else str(bits // 8)
