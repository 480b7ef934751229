"""Where members lie in structs, without a walk over all types where a search of bytes will do.

A struct is found by its name without reading the types before it; only a member inside an
anonymous struct or union, or of a named type, takes the walk. Booting and resuming ask only this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kprobesim.types.model import Composite

if TYPE_CHECKING:
    from kprobesim.types.btf import Btf

__all__ = ["MemberOffsets"]

_MOST_ANONYMOUS = 256  # structs without a name in one struct
_STRUCT, _UNION = 4, 5
_RECORD = _MEMBER = 3  # words


class MemberOffsets:
    """The members of the structs of ``btf``, which goes on from no other; each answer is kept."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._found: dict[tuple[str, str], int | None] = {}

    def find(self, struct_name: str, path: str) -> int | None:
        """Where ``path`` lies in a struct or union; see :meth:`Btf.offset`."""
        key = struct_name, path
        if key not in self._found:
            self._found[key] = self._find(struct_name, path.split("."))
        return self._found[key]

    def _find(self, name: str, path: Sequence[str]) -> int | None:
        for at in self._structs(name):
            bits = self._bits(at, path, set())
            if bits is not None:
                return bits // 8 if bits % 8 == 0 else None
        return None

    def _structs(self, name: str) -> Iterator[int]:
        """The words at which a struct or union of that name starts."""
        btf = self._btf
        for offset in btf.string_offsets(name):
            records = btf.records(offset)
            if records is None:  # too many to look at each
                records = (each.at for each in btf.named(name, Composite))
            for at in records:
                if self._is_struct(at):
                    yield at

    def _is_struct(self, at: int) -> bool:
        """Whether these words look like a struct: its members then lie inside it and have names."""
        words = self._btf.words
        if at + _RECORD > len(words):
            return False
        info, size = words[at + 1], words[at + 2]
        count = info & 0xFF_FFFF
        if info >> 24 & 0x7F not in (_STRUCT, _UNION) or not count:
            return False
        if at + _RECORD + count * _MEMBER > len(words):
            return False
        flagged, last = info >> 31, 0
        for name, _, offset in self._members(at):
            bits = offset & 0xFF_FFFF if flagged else offset
            if name >= self._btf.strings_end or bits > 8 * size or bits < last:
                return False
            last = bits
        return True

    def _members(self, at: int) -> Iterator[tuple[int, int, int]]:
        """Name, type, and offset of each member of the struct at the word ``at``."""
        words, start = self._btf.words, at + _RECORD
        for here in range(start, start + _MEMBER * (words[at + 1] & 0xFF_FFFF), _MEMBER):
            yield words[here], words[here + 1], words[here + 2]

    def _bits(self, at: int, path: Sequence[str], seen: set[int]) -> int | None:
        """The offset of ``path`` in the struct at ``at``, in bits; not in what was ``seen``."""
        btf = self._btf
        seen.add(at)
        flagged = btf.words[at + 1] >> 31
        anonymous = []
        wanted = set(btf.string_offsets(path[0]))
        for name, number, offset in self._members(at):
            bits = offset & 0xFF_FFFF if flagged else offset
            if name in wanted:
                if len(path) == 1:
                    return bits
                rest = self._inside(number, path[1:], set())
                return None if rest is None else bits + rest
            if not name or not btf.string(name):
                anonymous.append((number, bits))
        for number, bits in anonymous:
            found = self._inside(number, path, seen)
            if found is not None:
                return bits + found
        return None

    def _inside(self, number: int, path: Sequence[str], seen: set[int]) -> int | None:
        """The offset of ``path`` in type ``number``, if that is a struct or union."""
        found = self._btf.type(number).stripped
        if not isinstance(found, Composite) or len(seen) >= _MOST_ANONYMOUS:
            return None
        if found.at in seen or not self._is_struct(found.at):
            return None
        return self._bits(found.at, path, seen)
