"""What a struct has instead of a member that is gone: ``i_atime_sec`` for ``i_atime``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from kprobesim.types.model import Composite, Member, Type

__all__ = ["nearest_members"]

_MOST = 3
_DEEPEST = 4
#: Members whose new names are not like the old ones: include/linux/*.h, 5.10 to 7.2.
_RENAMED = {
    "core_layout": ("mem",),  # struct module, 6.4
    "d_iname": ("d_shortname",),  # struct dentry, 6.14
    "init_layout": ("mem",),
    "mm_rb": ("mm_mt",),
    "mmap": ("mm_mt",),  # struct mm_struct, 6.1
    "rq_disk": ("part", "q"),  # struct request, 5.17: q->disk
}


def nearest_members(owner: Type, name: str) -> list[str]:
    """Members of ``owner``, also of anonymous ones, that may have been made of ``name``."""
    names = list(dict.fromkeys(_names(owner, _DEEPEST)))
    known = [one for one in _RENAMED.get(name, ()) if one in names]
    deeper = list(_one_deeper(owner, name))
    if known or len(deeper) == 1:
        return [*known, *deeper][:_MOST]
    plain = name.strip("_")
    related = [one for one in names if _contain(one.strip("_"), plain)]
    if related:
        return related[:_MOST]
    return difflib.get_close_matches(name, names, _MOST, cutoff=0.75)


def _contain(one: str, other: str) -> bool:
    """Whether the words of one are the beginning or the end of the other's."""
    shorter, longer = (f"_{each}_" for each in sorted((one, other), key=len))
    return longer.startswith(shorter) or longer.endswith(shorter)


def _one_deeper(owner: Type, name: str) -> Iterator[str]:
    """``thread_info.cpu`` for ``cpu``: a member of that name in a struct that it holds."""
    for member in owner.flat() if isinstance(owner, Composite) else ():
        inner = member.type.stripped
        if isinstance(inner, Composite) and inner.find(name) is not None:
            yield f"{member.name}.{name}"


def _names(owner: Type, deepest: int) -> Iterator[str]:
    members: Iterable[Member] = owner.members if isinstance(owner, Composite) and deepest else ()
    for member in members:
        if member.name:
            yield member.name
        else:
            yield from _names(member.type.stripped, deepest - 1)
