"""Where an image has its BTF: between two symbols, or where its magic is."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.btf_maker import SIGNED, BtfMaker

from kprobesim.errors import TypesError
from kprobesim.image import load_image
from kprobesim.image.segment import Segment
from kprobesim.image.tables.btf import find_btf


def sample() -> bytes:
    m = BtfMaker()
    i32 = m.integer("int", 4, SIGNED)
    m.struct("task_struct", 8, [("flags", i32, 0), ("pid", i32, 32)])
    return m.data()


def in_memory(data: bytes) -> Segment:
    return Segment(0x1000, 0, memoryview(data), len(data), True, False, False, "rodata")


def test_is_found_by_its_place_or_by_its_magic() -> None:
    data = sample()
    memory = b"\x9f\xeb\x01\0" + bytes(60) + data + bytes(100)
    segment = in_memory(memory)
    for place in ((0x1040, 0x1040 + len(data)), None):
        btf = find_btf([segment], place)
        assert btf is not None
        assert btf.offset("task_struct", "pid") == 4
    assert find_btf([segment], (0x9000, 0x9100)) is None
    assert find_btf([], None) is None


def test_damage_where_it_must_be_is_told() -> None:
    data = sample()
    with pytest.raises(TypesError, match=r"vmlinux.*cut short"):
        find_btf([in_memory(data)], (0x1000, 0x1000 + len(data) - 1), "vmlinux")


def test_real_kernels_have_it(real_image: Path) -> None:
    image = load_image(real_image)
    assert image.btf is not None
    pid, tgid, comm = (image.btf.offset("task_struct", n) for n in ("pid", "tgid", "comm"))
    assert pid is not None
    assert tgid == pid + 4
    assert comm is not None
    assert image.btf.offset("list_head", "prev") == 8
    assert image.btf.offset("work_struct", "func") == 24
