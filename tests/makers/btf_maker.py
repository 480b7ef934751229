"""Writes BTF: each method adds one type and returns its number."""

from __future__ import annotations

import struct
from collections.abc import Sequence

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNCTION, PROTOTYPE, VARIABLE, SECTION, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
SIGNED, CHAR, BOOL = 1, 2, 4
Member = tuple[str, int, int]  # name, type, offset in bits; with the flag, the width << 24, too


class BtfMaker:
    """BTF that starts anew, or goes on where ``base`` ends."""

    def __init__(self, base: BtfMaker | None = None) -> None:
        self.types = bytearray()
        self.strings = bytearray(b"" if base else b"\0")
        self.base = base
        self.count: int = base.count if base else 0
        self.layout: bytes | None = None

    @property
    def strings_end(self) -> int:
        return len(self.strings) + (self.base.strings_end if self.base else 0)

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = (b"\0" + self.strings).find(b"\0" + text.encode() + b"\0")
        if at < 0:
            at = len(self.strings)
            self.strings += text.encode() + b"\0"
        return at + (self.base.strings_end if self.base else 0)

    def add(
        self, kind: int, name: str, size: int, vlen: int = 0, rest: bytes = b"", flag: int = 0
    ) -> int:
        info = flag << 31 | kind << 24 | vlen
        self.types += struct.pack("<III", self.name(name), info, size) + rest
        self.count += 1
        return self.count

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        return self.add(INT, name, size, 0, struct.pack("<I", encoding << 24 | size * 8))

    def pointer(self, to: int) -> int:
        return self.add(POINTER, "", to)

    def array(self, of: int, count: int, index: int = 1) -> int:
        return self.add(ARRAY, "", 0, 0, struct.pack("<III", of, index, count))

    def struct(
        self, name: str, size: int, members: Sequence[Member], kind: int = STRUCT, flag: int = 0
    ) -> int:
        rest = b"".join(struct.pack("<III", self.name(n), t, bits) for n, t, bits in members)
        return self.add(kind, name, size, len(members), rest, flag)

    def enum(self, name: str, values: Sequence[tuple[str, int]], size: int = 4) -> int:
        signed = int(any(value < 0 for _, value in values))
        if size == 8:
            rest = b"".join(struct.pack("<IQ", self.name(n), v % (1 << 64)) for n, v in values)
            return self.add(ENUM64, name, 8, len(values), rest, signed)
        rest = b"".join(struct.pack("<II", self.name(n), v % (1 << 32)) for n, v in values)
        return self.add(ENUM, name, size, len(values), rest, signed)

    def prototype(self, returns: int, parameters: Sequence[tuple[str, int]]) -> int:
        rest = b"".join(struct.pack("<II", self.name(n), t) for n, t in parameters)
        return self.add(PROTOTYPE, "", returns, len(parameters), rest)

    def function(self, name: str, returns: int, parameters: Sequence[tuple[str, int]]) -> int:
        return self.add(FUNCTION, name, self.prototype(returns, parameters))

    def variable(self, name: str, of: int, linkage: int = 1) -> int:
        return self.add(VARIABLE, name, of, 0, struct.pack("<I", linkage))

    def section(self, name: str, variables: Sequence[tuple[int, int, int]]) -> int:
        rest = b"".join(struct.pack("<III", *each) for each in variables)
        return self.add(SECTION, name, sum(each[2] for each in variables), len(variables), rest)

    def decl_tag(self, text: str, target: int, component: int = -1) -> int:
        return self.add(DECL_TAG, text, target, 0, struct.pack("<i", component))

    def data(self) -> bytes:
        types, strings, layout = bytes(self.types), bytes(self.strings), self.layout
        sizes = [24, 0, len(types), len(types), len(strings)]
        if layout is None:
            return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, *sizes) + types + strings
        sizes[0] = 32  # the layout lies between the two others, where it is aligned
        sizes[3] += len(layout)
        header = struct.pack("<HBBIIIIIII", 0xEB9F, 1, 0, *sizes, len(types), len(layout))
        return header + types + layout + strings
