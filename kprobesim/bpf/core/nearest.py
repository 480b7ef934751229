"""What a struct has instead of a member that is gone: ``i_atime_sec`` for ``i_atime``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from kprobesim.types.model import Composite, Member, Type

__all__ = ["nearest_members"]

_MOST = 3
_DEEPEST = 4


def nearest_members(owner: Type, name: str) -> list[str]:
    """Members of ``owner``, also of anonymous ones, that may have been made of ``name``."""
    names = list(dict.fromkeys(_names(owner, _DEEPEST)))
    plain = name.strip("_")
    related = [one for one in names if _contain(one.strip("_"), plain)]
    if related:
        return related[:_MOST]
    return difflib.get_close_matches(name, names, _MOST, cutoff=0.75)


def _contain(one: str, other: str) -> bool:
    """Whether the words of one are the beginning or the end of the other's."""
    shorter, longer = (f"_{each}_" for each in sorted((one, other), key=len))
    return longer.startswith(shorter) or longer.endswith(shorter)


def _names(owner: Type, deepest: int) -> Iterator[str]:
    members: Iterable[Member] = owner.members if isinstance(owner, Composite) and deepest else ()
    for member in members:
        if member.name:
            yield member.name
        else:
            yield from _names(member.type.stripped, deepest - 1)
