"""Which functions could be one another by their names and types, whatever their code is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cached_property

from kprobesim.diff.prototypes import Prototypes, without_const

__all__ = ["Kin"]

_WORD = 4  # letters of a word that two names share by no accident
_ALIKE = 0.75
_RARE = 24  # functions that may share a word or types for these to say anything


class Kin:
    """The functions of two kernels, the old one's first; without types, names alone count."""

    def __init__(
        self, before: Prototypes | None, after: Prototypes | None, fresh: Collection[str]
    ) -> None:
        self._before, self._after = before, after
        self._fresh = fresh

    def are(self, old: str, new: str) -> bool:
        """Whether the names share a word that few have, or the types are the same that few have."""
        if any(self._having[word] <= _RARE for word in _words(old) & _words(new)):
            return True
        types = _types(self._before, old)
        return (
            types is not None
            and len(self._by_types.get(types, ())) <= _RARE
            and types == _types(self._after, new)
        )

    def nearest(self, old: str) -> str | None:
        """The new function of the same types whose name is most like ``old``, if one is."""
        types = _types(self._before, old)
        if types is None:
            return None
        same: Sequence[str] = self._by_types.get(types, ())
        if len(same) > _RARE:  # a driver's callbacks: only what has the whole name
            same = [new for new in same if old in new or new in old]
        score, name = max(((_alike(old, new), new) for new in same), default=(0.0, ""))
        return name if score >= _ALIKE else None

    @cached_property
    def _having(self) -> Counter[str]:
        """How many new functions have each word in their names."""
        return Counter(word for name in self._fresh for word in _words(name))

    @cached_property
    def _by_types(self) -> Mapping[tuple[str, ...], list[str]]:
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name in self._fresh:
            types = _types(self._after, name)
            if types is not None:
                found[types].append(name)
        return found


def _words(name: str) -> set[str]:
    return {word for word in name.split("_") if len(word) >= _WORD}


def _types(prototypes: Prototypes | None, name: str) -> tuple[str, ...] | None:
    found = None if prototypes is None else prototypes.function(name)
    if prototypes is None or found is None:
        return None
    return without_const(prototypes.shape(found))


def _alike(old: str, new: str) -> float:
    """Nearly 1 if one name is in the other, as in ``vmalloc_noprof``, and is most of it."""
    if len(old) > _WORD and (old in new or new in old):
        return 1 - abs(len(old) - len(new)) / 1000
    return SequenceMatcher(None, old, new).ratio()
