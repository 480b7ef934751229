"""``Code``: where the functions of a kernel or module begin, and who calls or names whom."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from types import ModuleType

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.functions import arm64, x86_64
from kprobesim.functions.branches import Branches
from kprobesim.functions.clones import ENTRY_PADDING, split_clone, without_cold
from kprobesim.functions.effects import Effect
from kprobesim.functions.index import CodeIndex, kept_index
from kprobesim.functions.pointers import pointed_at
from kprobesim.image import KernelImage

__all__ = ["Code", "Read"]

Read = Callable[[int, int], bytes]
"""``read(address, size)``: code as it runs."""

_CODE_LETTERS = b"tTwWi"
#: Behind these lies code that belongs to nobody (vmlinux.lds.S): what alternatives put elsewhere.
_ENDS = frozenset(("_etext", "_einittext", "__exittext_end", "__inittext_end"))
#: gcc puts a number behind the dot, clang the function itself.
_OWN_NAME = re.compile(rb"__(?:func|FUNCTION|PRETTY_FUNCTION)__(?:\.[\w.]+)?$")
_LONGEST_NAME = 256
_READERS = halves(x86_64=x86_64, arm64=arm64)


class Code:
    """The code of ``part``, a kernel or a module, as ``read`` gives it.

    ``known`` tells where functions of other parts begin, which this one's code may call.
    """

    def __init__(
        self, part: KernelImage, read: Read, known: Callable[[], Set[int]] = frozenset
    ) -> None:
        self.part = part
        self.read = read
        self._known = known

    @property
    def _arch(self) -> ModuleType:
        return _READERS[self.part.arch]

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of the function that begins at each address, in order of addresses.

        Of several the first, as kallsyms tells it. What pads an entry is no function.
        """
        names, addresses, _, kinds, _ = self.part.symbols.columns
        is_code = self.part.is_code
        found: dict[int, str] = {}
        for name, address, kind in zip(names, addresses, kinds, strict=True):
            if kind in _CODE_LETTERS and address not in found and is_code(address):
                text = name.decode("utf-8", "surrogateescape")
                if not text.startswith(ENTRY_PADDING):
                    found[address] = text
        return found

    @cached_property
    def clones(self) -> Mapping[str, Sequence[str]]:
        """The full names of clones by what they were made of."""
        found: dict[str, list[str]] = {}
        for name in dict.fromkeys(self.names.values()):
            if "." in name:
                base, kinds = split_clone(name)
                if kinds:
                    found.setdefault(base, []).append(name)
        return found

    @cached_property
    def entries(self) -> set[int]:
        """Where its functions begin."""
        return set(self.names)

    @cached_property
    def _starts(self) -> Sequence[int]:
        return array("Q", sorted(self.names))

    def start_of(self, address: int) -> int | None:
        """Where the function that holds ``address`` begins."""
        at = bisect_right(self._starts, address) - 1
        return self._starts[at] if at >= 0 else None

    def caller_at(self, site: int) -> str | None:
        """The name of the function that holds ``site``; its cold part counts as itself.

        ``None`` for code that alternatives are copied from: it does not run where it is.
        """
        at = bisect_right(self._starts, site) - 1
        return self._callers[at] if at >= 0 else None

    @cached_property
    def _callers(self) -> list[str | None]:
        """What :meth:`caller_at` says of each function, by address."""
        names = map(self.names.__getitem__, self._starts)
        return [
            None if name in _ENDS else without_cold(name) if ".cold" in name else name
            for name in names
        ]

    def end_of(self, start: int) -> int:
        """Where the function behind the one that begins at ``start`` begins; its end at most."""
        at = bisect_right(self._starts, start)
        for low, high in self._areas:
            if low <= start < high:
                return min(high, self._starts[at]) if at < len(self._starts) else high
        return start

    def neighbours(self, start: int, count: int) -> Sequence[int]:
        """Where the ``count`` functions on each side of that one begin."""
        at = bisect_left(self._starts, start)
        return [*self._starts[max(0, at - count) : at], *self._starts[at + 1 : at + 1 + count]]

    @cached_property
    def _areas(self) -> list[tuple[int, int]]:
        """The pages of code."""
        return [
            (region.start, region.end)
            for region in self.part.regions
            if region.kind in ("text", "mixed")
        ]

    def texts(self) -> Iterator[tuple[int, bytes]]:
        """All its code: address and bytes."""
        for start, end in self._areas:
            try:
                yield start, self.read(start, end - start)
            except (ImageError, GuestMemoryError):  # a segment ends within the page
                segment = self.part.segment_at(start)
                if segment is not None and segment.end > start:
                    yield start, self.read(start, min(end, segment.end) - start)

    @cached_property
    def _index(self) -> CodeIndex:
        return kept_index(self.part, self._search)

    def _search(self) -> CodeIndex:
        known = self.entries.union(self._known())
        wanted = self.entries.union(self.own_names)
        branches = Branches(array("Q"), array("Q"), bytearray())
        sites, addresses = array("Q"), array("Q")
        for start, text in self.texts():
            found = self._arch.find_branches(text, start, self._starts, known)
            for column, more in zip(branches, found, strict=True):
                column.extend(more)
            for site, address in self._arch.find_references(text, start, wanted):
                sites.append(site)
                addresses.append(address)
        pointed = array("Q", sorted(pointed_at(self.part, known)))
        return CodeIndex(branches, (sites, addresses), pointed)

    @property
    def branches(self) -> Branches:
        """Every branch of it to another function's entry, by site."""
        return self._index.branches

    @cached_property
    def _by_target(self) -> dict[int, array[int]]:
        """Indices into :attr:`branches` by where they go."""
        found: dict[int, array[int]] = {}
        for index, target in enumerate(self.branches.targets):
            if target in found:
                found[target].append(index)
            else:
                found[target] = array("I", (index,))
        return found

    def branches_to(self, entry: int) -> Iterator[tuple[int, bool]]:
        """Site of each branch to ``entry``, and whether it is a call."""
        for index in self._by_target.get(entry, ()):
            yield self.branches.sites[index], bool(self.branches.calls[index])

    def callers_of(self, entry: int) -> Iterator[tuple[str, int]]:
        """Who holds each branch to ``entry``, and 1 for a call, 0 for a jump."""
        sites, _, calls = self.branches
        for index in self._by_target.get(entry, ()):
            caller = self.caller_at(sites[index])
            if caller is not None:
                yield caller, calls[index]

    @cached_property
    def own_names(self) -> Mapping[int, str]:
        """What functions call themselves, by the address of the array ``__func__.N`` that says it.

        Only a kernel with CONFIG_KALLSYMS_ALL has symbols for these.
        """
        names, addresses, _, _, _ = self.part.symbols.columns
        found = {}
        for name, address in zip(names, addresses, strict=True):
            if name.startswith(b"__") and _OWN_NAME.match(name):
                text = self.part.read_string(address, _LONGEST_NAME)
                if text and text.isidentifier():
                    found[address] = text
        return found

    @property
    def effect(self) -> Callable[[bytes, int, int], Effect]:
        """What an instruction does to argument registers (see :mod:`.effects`)."""
        found: Callable[[bytes, int, int], Effect] = self._arch.effect
        return found

    @property
    def shows_constants(self) -> bool:
        """Whether an address that it takes is that of what it uses."""
        return bool(self._arch.SHOWS_CONSTANTS)

    @property
    def references(self) -> tuple[Sequence[int], Sequence[int]]:
        """Each place that takes the address of an entry or of an own name, and what it takes."""
        return self._index.references

    @cached_property
    def taken(self) -> Set[int]:
        """The entries whose address its data or its code holds."""
        return {*self._index.pointed, *self.entries.intersection(self.references[1])}
