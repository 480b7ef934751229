"""Pages come back as they were, and nonsense is refused before it is unpacked."""

from __future__ import annotations

import mmap
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.sizes import PAGE
from kprobesim.snapshot.packing import PackingError, pack, pack_value, unpack, unpack_value
from kprobesim.snapshot.pages import PageReader, PagesError, PageWriter


def ram_of(pages: list[int]) -> mmap.mmap:
    """One page for each number; page 0 is zero."""
    ram = mmap.mmap(-1, max(1, len(pages)) * PAGE)
    for at, number in enumerate(pages):
        ram[at * PAGE : (at + 1) * PAGE] = number.to_bytes(2, "little") * (PAGE // 2)
    return ram


def reader_of(writer: PageWriter) -> PageReader:
    frames, sizes = writer.frames()
    return PageReader(memoryview(frames), memoryview(sizes), len(writer))


@given(
    first=st.lists(st.integers(0, 40), max_size=80),
    second=st.lists(st.integers(0, 40), max_size=40),
    cut=st.integers(0, PAGE - 1),
)
def test_memories_come_back(first: list[int], second: list[int], cut: int) -> None:
    one, two = ram_of(first), ram_of(second)
    image = memoryview(two[: len(two) - cut])
    writer = PageWriter()
    runs, image_runs = writer.add(one), writer.add(image)
    reader = reader_of(writer)
    again = mmap.mmap(-1, len(one))
    reader.fill(again, memoryview(runs))
    assert again[:] == one[:]
    assert reader.read(image_runs, len(image)) == image
    assert reader.read(runs, len(one)) == one[:]
    different = {n for n in first + second if n}
    assert len(different) <= len(writer) <= len(different) + 1  # one may have been cut


def test_a_page_is_kept_once() -> None:
    writer = PageWriter()
    writer.add(ram_of([7] * 1000 + [0] * 1000))
    assert len(writer) == 1
    assert len(writer.frames()[0]) < 100


@given(
    runs=st.lists(st.tuples(*[st.integers(0, 40)] * 3), max_size=5),
    tail=st.binary(max_size=5),
)
def test_runs_that_make_no_sense(runs: list[tuple[int, int, int]], tail: bytes) -> None:
    writer = PageWriter()
    writer.add(ram_of(list(range(1, 21))))
    reader = reader_of(writer)
    packed = b"".join(struct.pack("<3I", *run) for run in runs) + tail
    memory = mmap.mmap(-1, 30 * PAGE)
    for use in (
        lambda: reader.fill(memory, memoryview(packed)),
        lambda: reader.read(packed, 30 * PAGE),
    ):
        try:
            use()
        except PagesError:
            continue
        assert not tail
        end = 0
        for at, number, count in runs:
            assert end <= at <= at + count <= 30
            assert number + count <= 20
            end = at + count


def test_frames_that_make_no_sense() -> None:
    writer = PageWriter()
    writer.add(ram_of(list(range(1, 21))))
    frames, sizes = writer.frames()
    for count in (0, 16, 33, 1 << 40):
        with pytest.raises(PagesError):
            PageReader(memoryview(frames), memoryview(sizes), count)
    with pytest.raises(PagesError):
        PageReader(memoryview(frames), memoryview(sizes)[:-1], 20)
    with pytest.raises(PagesError):
        PageReader(memoryview(frames)[:-1], memoryview(sizes), 20)
    run = struct.pack("<3I", 0, 0, 5)
    bomb = zstandard.compress(bytes(1 << 28))
    no_size = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(5 * PAGE))
    lies = bytearray(zstandard.compress(bytes(5 * PAGE)))
    lies[6] ^= 1
    good = zstandard.compress(bytes(range(256)) * (5 * PAGE // 256))
    for frame in (bomb, no_size, b"", b"x", good[:-3], bytes(lies)):
        reader = PageReader(memoryview(frame), memoryview(struct.pack("<I", len(frame))), 5)
        with pytest.raises(PagesError):
            reader.read(run, 5 * PAGE)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(PLAIN)
def test_plain_values_come_back(value: object) -> None:
    again = unpack_value(pack_value(value))
    assert again == value
    assert repr(again) == repr(value)  # True is not 1


def test_packed_nonsense() -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(b"")
    huge = bytearray(pack(bytes(100)))
    for data in (b"", b"x", bytes(bomb[:3]), pack(b"123")[:-1], bytes(huge[:4]) + b"\xff" * 20):
        with pytest.raises(PackingError):
            unpack(data)
    with pytest.raises(PackingError):
        unpack(pack(b"12"), 3)
    for text in (b"{", b'{"base64": 1}', b'{"base64": "%"}', b"[" * 100_000, b"\xff"):
        with pytest.raises(PackingError):
            unpack_value(pack(text))
    with pytest.raises(TypeError):
        pack_value({"a": 1j})
