"""``IndexedBtf``: types of which it is known where each lies, and in which order their names are.

To find a name that is not there, or to count the types, takes a walk over all of them; who keeps
types anyway, as a catalogue does, keeps what the walk has found beside them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from kprobesim.types.btf import Btf

__all__ = ["BtfIndex", "IndexedBtf", "index_of"]


class BtfIndex(NamedTuple):
    """What is known of the types of a kernel.

    Attributes:
        places: The index of the first word of each type's record, in order.
        by_name: The numbers of all types that have a name, in the order of these.
    """

    places: array[int]
    by_name: array[int]


def index_of(btf: Btf) -> BtfIndex:
    """The index of a kernel's types.

    Raises:
        TypesError: They are damaged.
    """
    places = array("I", (each.at for each in btf))
    names = [btf.string(btf.words[at]) for at in places]
    named = (number for number, name in enumerate(names, 1) if name)
    return BtfIndex(places, array("I", sorted(named, key=lambda number: names[number - 1])))


class IndexedBtf(Btf):
    """The types in ``data``, a kernel's, with their index.

    Args:
        data: As of :class:`Btf`.
        index: What :func:`index_of` gave for the same types.
        source: As of :class:`Btf`.

    Raises:
        TypesError: There is no BTF, or its header speaks of more than there is.
    """

    def __init__(self, data: bytes | memoryview, index: BtfIndex, source: str = "BTF") -> None:
        super().__init__(data, source=source)
        self._places = index.places  # type: ignore[assignment]
        self._walked = len(self.words)
        self._by_name = index.by_name

    def __reduce__(self) -> tuple[object, ...]:
        index = BtfIndex(self._places, self._by_name)  # type: ignore[arg-type]
        return IndexedBtf, (self.data, index, self.source)

    def _numbers(self, name: str) -> Iterator[int]:
        if not name:
            return iter(())
        order = self._by_name
        first = bisect_left(order, name, key=self._name_of)
        if first == len(order) or self._name_of(order[first]) != name:
            return iter(())
        return iter(order[first : bisect_right(order, name, first, key=self._name_of)])

    def _name_of(self, number: int) -> str:
        return self.string(self.words[self._places[number - 1]])
