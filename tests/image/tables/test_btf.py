"""BTF: where members lie in structs, also in anonymous ones; damage is refused or found nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from kprobesim.image import load_image
from kprobesim.image.segment import Segment
from kprobesim.image.tables.btf import Btf, find_btf

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST = 1, 2, 3, 4, 5, 6, 8, 10
FUNC_PROTO, VAR, DATASEC, ENUM64 = 13, 14, 15, 19
Member = tuple[str, int, int]  # name, type, offset in bits


class Maker:
    """Writes BTF: each method adds one type and returns its number."""

    def __init__(self) -> None:
        self.types = bytearray()
        self.strings = bytearray(b"\0")
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = self.strings.find(b"\0" + text.encode() + b"\0") + 1
        if not at:
            at = len(self.strings)
            self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, size: int, vlen: int, rest: bytes, flag: int = 0) -> int:
        info = flag << 31 | kind << 24 | vlen
        self.types += struct.pack("<III", self.name(name), info, size) + rest
        self.count += 1
        return self.count

    def struct(
        self, name: str, size: int, members: Sequence[Member], kind: int = STRUCT, flag: int = 0
    ) -> int:
        rest = b"".join(struct.pack("<III", self.name(n), t, bits) for n, t, bits in members)
        return self.add(kind, name, size, len(members), rest, flag)

    def data(self) -> bytes:
        header = struct.pack(
            "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return header + bytes(self.types) + bytes(self.strings)


def sample() -> bytes:
    m = Maker()
    i32 = m.add(INT, "int", 4, 0, struct.pack("<I", 32))
    m.add(ARRAY, "", 0, 0, struct.pack("<III", i32, i32, 16))
    m.add(ENUM, "colour", 4, 2, struct.pack("<IiIi", m.name("RED"), 0, m.name("BLUE"), 1))
    m.add(FUNC_PROTO, "", i32, 2, struct.pack("<IIII", 0, i32, 0, i32))
    m.add(VAR, "counter", i32, 0, struct.pack("<I", 1))
    m.add(DATASEC, ".data", 4, 1, struct.pack("<III", 5, 0, 4))
    m.add(ENUM64, "big", 8, 1, struct.pack("<III", m.name("HUGE"), 0, 1))
    inner = m.struct("", 8, [("low", i32, 0), ("high", i32, 32)])
    both = m.struct("", 8, [("whole", i32, 0), ("", inner, 0)], UNION)
    info = m.struct("info", 16, [("flags", i32, 0), ("", both, 64)])
    alias = m.add(TYPEDEF, "info_t", info, 0, b"")
    const = m.add(CONST, "", alias, 0, b"")
    m.struct(
        "task_struct",
        96,
        [("thread", const, 0), ("pid", i32, 256), ("", both, 320), ("comm", i32, 512)],
    )
    # With the flag, the upper byte of an offset is a bit field's width.
    m.struct("fields", 8, [("a", i32, 3 << 24 | 0), ("b", i32, 5 << 24 | 3), ("c", i32, 32)], 4, 1)
    return m.data()


def test_members_of_structs_and_of_what_is_in_them() -> None:
    btf = Btf(sample())
    for path, offset in (
        ("pid", 32),
        ("comm", 64),
        ("whole", 40),
        ("high", 44),
        ("thread", 0),
        ("thread.flags", 0),
        ("thread.low", 8),
        ("thread.high", 12),
        ("tgid", None),
        ("pid.x", None),
        ("thread.nothing", None),
    ):
        assert btf.offset("task_struct", path) == offset, path
    assert btf.offset("no_such_struct", "pid") is None
    assert btf.offset("int", "pid") is None
    assert [btf.offset("fields", n) for n in "abc"] == [0, None, 4]


def test_is_found_by_its_place_or_by_its_magic() -> None:
    data = sample()
    memory = b"\x9f\xeb\x01\0" + bytes(60) + data + bytes(100)
    segment = Segment(0x1000, 0, memoryview(memory), len(memory), True, False, False, "rodata")
    for place in ((0x1040, 0x1040 + len(data)), None):
        btf = find_btf([segment], place)
        assert btf is not None
        assert btf.offset("task_struct", "pid") == 32
    assert find_btf([segment], (0x9000, 0x9100)) is None
    assert find_btf([], None) is None


def test_damage_is_an_error_or_finds_nothing() -> None:
    data = sample()
    for wrong in (b"", data[:10], b"\0" + data[1:], data[:40]):
        with pytest.raises(ValueError, match="BTF"):
            Btf(wrong)
    for at in range(24, len(data) - 1):
        for value in (0, 0xFF):
            damaged = Btf(data[:at] + bytes([value]) + data[at + 1 :])
            for path in ("comm", "high", "thread.high"):
                found = damaged.offset("task_struct", path)
                assert found is None or 0 <= found < 1 << 29


def test_a_struct_that_contains_itself_ends() -> None:
    m = Maker()
    m.struct("task_struct", 8, [("", 1, 0)])
    m.struct("twice", 8, [("", 2, 0), ("", 2, 0)])
    m.add(TYPEDEF, "loop", 3, 0, b"")
    m.struct("user", 8, [("x", 3, 0)])
    btf = Btf(m.data())
    assert btf.offset("task_struct", "pid") is None
    assert btf.offset("user", "x.y") is None


def test_real_kernels_have_it(real_image: Path) -> None:
    image = load_image(real_image)
    assert image.btf is not None
    pid, tgid, comm = (image.btf.offset("task_struct", n) for n in ("pid", "tgid", "comm"))
    assert pid is not None
    assert tgid == pid + 4
    assert comm is not None
    assert image.btf.offset("list_head", "prev") == 8
    assert image.btf.offset("work_struct", "func") == 24
