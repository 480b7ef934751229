"""``Inlines``: which functions of an image are inlined, and where, by its debug information."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from functools import cached_property

from kprobesim.functions.clones import split_clone, without_cold
from kprobesim.functions.dwarf.symcache import SymCache
from kprobesim.functions.facts import InlinedAt
from kprobesim.image import KernelImage
from kprobesim.sizes import PAGE, page_down

__all__ = ["Inlines"]

#: What an entry may be behind its symbol, in bytes: gcc counts from behind ftrace's NOPs on ARM64.
_NOPS = 16
#: So many functions tell where the image lies.
_ENOUGH = 500


class Inlines:
    """The inlined copies that ``cache`` knows, at the addresses of ``image``."""

    def __init__(self, cache: SymCache, image: KernelImage) -> None:
        self._cache = cache
        self._image = image

    @cached_property
    def base(self) -> int:
        """Where the debug information's address 0 is: most functions agree.

        Up to a few bytes (see ``_NOPS``); an image begins with a page.
        """
        votes: Counter[int] = Counter()
        symbols = self._image.symbols
        for name, entry in self._cache.entries():
            found = symbols.candidates(name)
            if len(found) == 1:
                votes[found[0].address - entry] += 1
                if sum(votes.values()) == _ENOUGH:
                    break
        return page_down(votes.most_common(1)[0][0] + PAGE // 2) if votes else 0

    def names(self) -> Set[str]:
        """The functions that have inlined copies; a few have none outside of themselves."""
        return self._cache.inlined()

    def compiled(self) -> Set[str]:
        """The functions that have code of their own."""
        return self._compiled

    @cached_property
    def _compiled(self) -> Set[str]:
        return {name for name, _ in self._cache.entries()}

    def copies(self, name: str) -> tuple[InlinedAt, ...]:
        """Where calls of ``name`` run a copy; by address.

        A copy in the function itself is none: it is a part that was split off and put back.

        Raises:
            DebugInfoError: The debug information is damaged.
        """
        found = []
        for copy in self._cache.copies(name):
            caller = self._symbol(copy.entry) or copy.holder
            if name not in (copy.caller, split_clone(caller)[0]):
                address = None if copy.address is None else self.base + copy.address
                found.append(InlinedAt(caller, copy.file, copy.line, address))
        return tuple(found)

    def _symbol(self, entry: int | None) -> str | None:
        """The symbol of the code that begins at ``entry``; of that, too, if it is its cold part."""
        if entry is None:
            return None
        found = self._image.symbols.at(self.base + entry)
        if found is None or found.offset > _NOPS:
            return None  # a weak function that another one has replaced
        return without_cold(found.symbol.name)
