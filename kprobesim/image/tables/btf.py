"""BTF: the types of a kernel, which it carries for BPF (CONFIG_DEBUG_INFO_BTF).

Documentation/bpf/btf.rst: a header, a section of types numbered from 1, a section of strings. What
is asked for here is where members lie in structs. One struct is found by its name without reading
the types before it; only a member inside an anonymous struct or union, or of a named type, takes a
walk over all of them, once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from kprobesim.image.segment import Segment

__all__ = ["Btf", "find_btf"]

_MAGIC = b"\x9f\xeb\x01"  # 0xeb9f, version 1
_HEADER = struct.Struct(
    "<HBBIIIII"
)  # magic version flags hdr_len type_off type_len str_off str_len
_TYPE = struct.Struct("<III")  # name_off, info, size or type
_MEMBER = struct.Struct("<III")  # name_off, type, offset in bits
_MOST_ANONYMOUS = 256  # structs without a name in one struct
_MOST_ALIASES = 16  # typedefs and qualifiers on the way to a struct

_STRUCT, _UNION = 4, 5
_ALIASES = frozenset((8, 9, 10, 11, 18))  # TYPEDEF VOLATILE CONST RESTRICT TYPE_TAG
# Bytes behind the three words of a type: for each of its vlen elements, and once.
_ELEMENT = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_ONCE = {1: 4, 3: 12, 14: 4, 17: 4}
_KINDS = 20


class Btf:
    """The types in ``data``, which starts with BTF's header; raises ``ValueError`` if it does not.

    >>> btf.offset("task_struct", "comm")
    1968
    """

    def __init__(self, data: bytes | memoryview) -> None:
        if len(data) < _HEADER.size or bytes(data[:3]) != _MAGIC:
            raise ValueError("no BTF: its magic is missing")
        header = _HEADER.unpack_from(data)
        length, types, types_size, strings, strings_size = header[3:]
        if (
            length < _HEADER.size
            or types % 4
            or max(length + types + types_size, length + strings + strings_size) > len(data)
        ):
            raise ValueError("damaged BTF: its header speaks of more than there is")
        self._types = bytes(data[length + types : length + types + types_size])
        self._strings = bytes(data[length + strings : length + strings + strings_size])
        self._places: list[int] | None = None
        self._offsets: dict[tuple[str, str], int | None] = {}

    def offset(self, struct_name: str, path: str) -> int | None:
        """Where member ``path`` (``"a"`` or ``"a.b"``) of a struct or union lies, in bytes.

        Members of anonymous structs and unions count as the struct's own, as in C. ``None`` if
        there is no such struct or member, or if it is a bit field that starts within a byte.
        """
        key = struct_name, path
        if key not in self._offsets:
            self._offsets[key] = self._find(struct_name, path.split("."))
        return self._offsets[key]

    def _find(self, name: str, path: Sequence[str]) -> int | None:
        for at in self._structs(name):
            bits = self._bits(at, path, set())
            if bits is not None:
                return bits // 8 if bits % 8 == 0 else None
        return None

    def _structs(self, name: str) -> Iterator[int]:
        """Where the types section has a struct or union of that name."""
        for string in self._occurrences(name):
            word = struct.pack("<I", string)
            at = self._types.find(word)
            while at >= 0:
                if at % 4 == 0 and at + _TYPE.size <= len(self._types) and self._is_struct(at):
                    yield at
                at = self._types.find(word, at + 1)

    def _occurrences(self, name: str) -> Iterator[int]:
        """Offsets of the whole string ``name``; a pool of strings has it once."""
        wanted = b"\0" + name.encode() + b"\0"
        at = self._strings.find(wanted)
        while at >= 0:
            yield at + 1
            at = self._strings.find(wanted, at + 1)

    def _is_struct(self, at: int) -> bool:
        """Whether these words look like a struct: its members then lie inside it and have names."""
        _, info, size = _TYPE.unpack_from(self._types, at)
        count = info & 0xFFFF
        if info >> 24 & 0x1F not in (_STRUCT, _UNION) or info & 0x60FF_0000 or not count:
            return False
        if at + _TYPE.size + count * _MEMBER.size > len(self._types):
            return False
        flagged = info >> 31
        last = 0
        for name, _, offset in self._members(at):
            bits = offset & 0xFF_FFFF if flagged else offset
            if name >= len(self._strings) or bits > 8 * size or bits < last:
                return False
            last = bits
        return True

    def _members(self, at: int) -> Iterator[tuple[int, int, int]]:
        count = _TYPE.unpack_from(self._types, at)[1] & 0xFFFF
        start = at + _TYPE.size
        return _MEMBER.iter_unpack(self._types[start : start + count * _MEMBER.size])

    def _bits(self, at: int, path: Sequence[str], seen: set[int]) -> int | None:
        """The offset of ``path`` in the struct at ``at``, in bits; not in what was ``seen``."""
        seen.add(at)
        flagged = _TYPE.unpack_from(self._types, at)[1] >> 31
        anonymous = []
        wanted = b"\0" + path[0].encode() + b"\0"
        for name, kind, offset in self._members(at):
            bits = offset & 0xFF_FFFF if flagged else offset
            if not name or self._strings[name : name + 1] == b"\0":
                anonymous.append((kind, bits))
            elif self._strings.startswith(wanted, name - 1):
                if len(path) == 1:
                    return bits
                inner = self._struct_of(kind)
                rest = None if inner is None else self._bits(inner, path[1:], set())
                return None if rest is None else bits + rest
        for kind, bits in anonymous:
            inner = self._struct_of(kind)
            if inner is not None and inner not in seen and len(seen) < _MOST_ANONYMOUS:
                found = self._bits(inner, path, seen)
                if found is not None:
                    return bits + found
        return None

    def _struct_of(self, number: int) -> int | None:
        """Where the struct or union is that type ``number`` is or is another name for."""
        if self._places is None:
            self._places = self._walk()
        for _ in range(_MOST_ALIASES):
            if not 0 < number < len(self._places):
                return None
            at = self._places[number]
            _, info, target = _TYPE.unpack_from(self._types, at)
            kind = info >> 24 & 0x1F
            if kind in (_STRUCT, _UNION):
                return at if self._is_struct(at) else None
            if kind not in _ALIASES:
                return None
            number = target
        return None

    def _walk(self) -> list[int]:
        """Where each type is, by its number; up to the first that makes no sense."""
        words = memoryview(self._types[: len(self._types) & -4]).cast("I")
        element = [_ELEMENT.get(kind, 0) // 4 for kind in range(32)]
        once = [3 + _ONCE.get(kind, 0) // 4 for kind in range(32)]
        places = [0]
        add = places.append
        at, end = 0, len(words) - 2
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 31
            if not 0 < kind < _KINDS:
                break
            add(4 * at)
            at += once[kind]
            if element[kind]:
                at += (info & 0xFFFF) * element[kind]
        return places


def find_btf(segments: Sequence[Segment], place: tuple[int, int] | None) -> Btf | None:
    """The BTF between the addresses ``place``; without them, what has its magic in ``segments``."""
    for segment in segments:
        data = segment.data
        if place is not None:
            start, end = place[0] - segment.vaddr, place[1] - segment.vaddr
            if 0 <= start < end <= len(data):
                return _try(data[start:end])
            continue
        for found in re.finditer(_MAGIC, data):
            btf = _try(data[found.start() :]) if found.start() % 4 == 0 else None
            if btf is not None and btf.offset("task_struct", "pid") is not None:
                return btf
    return None


def _try(data: memoryview) -> Btf | None:
    try:
        return Btf(data)
    except ValueError:
        return None
