"""Symbols that are kept packed: a quarter of a million of them is asked in a few milliseconds.

A list of so many names and a dict of them take longer to make than a hundred questions to answer.
So the names stay one text, with where each begins, and an order by name in which one is searched.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

from kprobesim.image.symbols.table import Columns, SymbolTable
from kprobesim.snapshot.packing import PackingError, pack, pack_words, unpack, unpack_words

__all__ = ["PackedNames", "PackedSymbols", "pack_symbols"]

_MOST = 1 << 22
_PREFIX = "symbols/"


class PackedNames(Sequence[bytes]):
    """Names in one text, each behind a NUL but the first; ``starts`` says where each begins."""

    def __init__(self, text: bytes, starts: array[int]) -> None:
        self.text = text
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return list(self)[index]
        start = self._starts[index]
        end = self.text.find(b"\0", start)
        return self.text[start:] if end < 0 else self.text[start:end]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.text.split(b"\0") if self._starts else ())


class PackedSymbols(SymbolTable):
    """The table that :func:`pack_symbols` was given.

    Args:
        section: Gives the packed sections by name.
        facts: What :func:`pack_symbols` gave as such.
        extents: As of the table that was packed.

    Raises:
        PackingError: They make no sense.
    """

    def __init__(
        self,
        section: Callable[[str], memoryview | bytes],
        facts: Mapping[str, Any],
        extents: Sequence[tuple[int, int]],
    ) -> None:
        count, seen = facts.get("count"), facts.get("visible")
        if type(count) is not int or not 0 <= count <= _MOST or type(seen) is not int:
            raise PackingError("no kernel has so many symbols")
        names = PackedNames(
            unpack(section(_PREFIX + "names")),
            unpack_words("I", section(_PREFIX + "starts"), count),
        )
        self._by_text = unpack_words("I", section(_PREFIX + "by_name"), count)
        self._shown: tuple[array[int], array[int]] | None = None
        if seen != count:
            self._shown = (
                unpack_words("Q", section(_PREFIX + "visible/addresses"), seen),
                unpack_words("I", section(_PREFIX + "visible"), seen),
            )
        sizes = facts.get("sizes")
        columns = Columns(
            names,
            unpack_words("Q", section(_PREFIX + "addresses"), count),
            unpack_words("Q", section(_PREFIX + "sizes"), count) if sizes else None,
            unpack(section(_PREFIX + "kinds"), count),
            ordered=True,
        )
        super().__init__(columns, extents=extents, source=str(facts.get("source", "")))
        self._packed = names

    def _indices(self, name: bytes) -> Sequence[int]:
        order, names = self._by_text, self._packed
        first = bisect_left(order, name, key=names.__getitem__)
        if first == len(order) or names[order[first]] != name:
            return ()
        return order[first : bisect_right(order, name, first, key=names.__getitem__)]

    @cached_property
    def _visible(self) -> tuple[array[int], array[int] | None]:
        return (self._addresses, None) if self._shown is None else self._shown

    def any_named(self, part: bytes) -> bool:
        """Whether ``part``, which holds no NUL, is in any name."""
        return part in self._packed.text


def pack_symbols(table: SymbolTable) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Facts and sections of which :class:`PackedSymbols` makes the same table."""
    names, addresses, sizes, kinds, _ = table.columns
    starts, at = array("I"), 0
    for name in names:
        starts.append(at)
        at += len(name) + 1
    addresses_shown, visible = table._visible
    sections = {
        "names": pack(b"\0".join(names)),
        "starts": pack_words(starts),
        "by_name": pack_words(array("I", sorted(range(len(names)), key=names.__getitem__))),
        "addresses": pack_words(addresses),
        "kinds": pack(kinds),
    }
    if sizes is not None:
        sections["sizes"] = pack_words(sizes)
    if visible is not None:
        sections["visible"] = pack_words(visible)
        sections["visible/addresses"] = pack_words(addresses_shown)
    facts = {
        "count": len(names),
        "visible": len(names) if visible is None else len(visible),
        "sizes": sizes is not None,
        "source": table.source,
    }
    return facts, {_PREFIX + name: data for name, data in sections.items()}
