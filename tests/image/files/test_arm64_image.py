"""Raw ARM64 Images: the address is found from the pointers, relocations by their shape."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from makers.elf_maker import BANNER
from makers.kallsyms_maker import LAYOUTS, make_kallsyms
from makers.package_maker import COMPRESS, make_arm64_image, make_zboot

from kprobesim.errors import ImageError
from kprobesim.image import load_image
from kprobesim.image.files.rela import apply_rela, find_rela

NOP = b"\x1f\x20\x03\xd5"
BASES = [
    0xFFFF800008000000,
    0xFFFF800010000000,
    0xFFFF800080000000,
    0xFFFFC00080000000,
    0xFFFFFFC008000000,
]


def image_with_kallsyms(
    base: int, layout_name: str, *, rela: bool, size: int = 3 << 20
) -> tuple[bytes, list[tuple[str, str, int]]]:
    """Text, kallsyms, pointers and relocations; with ``rela`` the words in place are zero."""
    layout = next(layout for layout in LAYOUTS if layout.name == layout_name)
    rng = random.Random(5)
    text = bytearray(NOP * 0x4000)
    entries = [("T", "_text", base), ("T", "_stext", base + 0x1000)]
    entries += [("t", f"function_{i}", base + 0x1000 + 32 * i) for i in range(1200)]
    entries += [("T", "_etext", base + 0x10000)]
    at = 64 + len(text)
    table = make_kallsyms(layout, entries, base + at, base, lead=BANNER.encode() + bytes(9))
    body = bytearray(text + table)
    body += bytes(-len(body) % 8)
    pointers = [base + rng.randrange(size) for _ in range(3000)]
    relocations = []
    if rela and layout.addressing == "relative":
        where = body.rindex(struct.pack("<Q", base))
        body[where : where + 8] = bytes(8)
        relocations.append((base + 64 + where, 0x403, base))
    start = 64 + len(body)
    for i, pointer in enumerate(pointers):
        body += struct.pack("<Q", 0 if rela else pointer)
        if rela:
            relocations.append((base + start + 8 * i, 0x403, pointer))
    relocations += [(0, 0, 0)] * 50 + [(base + 0x100, 0x101, 5)]
    for entry in relocations if rela else []:
        body += struct.pack("<QQQ", *entry)
    return make_arm64_image(bytes(body), base=base, pointers=[], image_size=size), entries


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("rela", [True, False])
@pytest.mark.parametrize("layout", ["5.10-arm64", "6.1-arm64", "6.12-arm64", "7.0"])
def test_an_image(tmp_path: Path, base: int, rela: bool, layout: str) -> None:
    data, entries = image_with_kallsyms(base, layout, rela=rela)
    path = tmp_path / "Image"
    path.write_bytes(data)
    image = load_image(path)
    assert (image.arch, image.container) == ("arm64", "arm64 Image")
    assert image.entry == base
    [segment] = image.segments
    assert (segment.vaddr, segment.memsz) == (base, 3 << 20)
    assert image.banner == BANNER
    assert {(s.type, s.name, s.address) for s in image.symbols} == set(entries)
    assert image.symbols.source == "kallsyms"
    assert image.text_ranges == ((base + 0x1000, base + 0x10000),)
    rng = random.Random(5)
    pointers = [base + rng.randrange(3 << 20) for _ in range(3000)]
    raw = bytes(segment.data)
    assert struct.pack("<3000Q", *pointers) in raw
    assert image.is_code(base)
    assert image.regions[0].kind == "text"


@pytest.mark.parametrize("kind", COMPRESS)
def test_packed_images(tmp_path: Path, kind: str) -> None:
    data, _ = image_with_kallsyms(BASES[2], "6.12-arm64", rela=False)
    path = tmp_path / "vmlinuz"
    path.write_bytes(COMPRESS[kind](data))
    assert load_image(path).container == f"arm64 Image ({kind})"
    path.write_bytes(make_zboot(data, kind))
    image = load_image(path)
    assert image.container == f"arm64 Image (EFI zboot, {kind})"
    assert image.symbols["_stext"].address == BASES[2] + 0x1000


def refusal(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "Image"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        load_image(path)
    return caught.value.problem


def test_images_that_cannot_be(tmp_path: Path) -> None:
    good, _ = image_with_kallsyms(BASES[0], "6.1-arm64", rela=True)
    assert "only 60 bytes" in refusal(tmp_path, good[:60])
    assert "no pointers" in refusal(tmp_path, good[:64] + bytes(5000))
    assert "big-endian" in refusal(tmp_path, make_arm64_image(NOP, base=0, pointers=[], flags=1))
    huge = make_arm64_image(NOP, base=0, pointers=[], image_size=1 << 40)
    assert "limit is 1 GiB" in refusal(tmp_path, huge)


def test_an_image_that_is_cut_short(tmp_path: Path) -> None:
    data = bytearray(image_with_kallsyms(BASES[0], "6.1-arm64", rela=True)[0])
    # A PE header like the EFI stub's: one section with all the bytes.
    struct.pack_into("<I", data, 0x3C, 0x40)
    struct.pack_into("<4sHH12xHH", data, 0x40, b"PE\0\0", 0xAA64, 1, 0xA0, 0x206)
    struct.pack_into("<8sIIII", data, 0x40 + 24 + 0xA0, b".text", 0, 0, len(data) - 0x1000, 0x1000)
    path = tmp_path / "Image"
    path.write_bytes(data)
    assert load_image(path).banner == BANNER
    assert f"of an Image of {len(data)}" in refusal(tmp_path, bytes(data[:-100]))


def rela(*entries: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<QQQ", *entry) for entry in entries)


def test_relocations() -> None:
    first, second = memoryview(bytes(64)), memoryview(b"\xff" * 64)
    table = rela((0x1008, 0x403, 7), (0x1011, 0x403, 1 << 63), (0x1020, 0x101, 9), (0, 0, 0))
    (base, data), (_, other) = apply_rela([(0x1000, first), (0x2000, second)], table)
    assert base == 0x1000
    assert other is second
    assert data.readonly
    expected = bytearray(64)
    expected[8:16] = struct.pack("<Q", 7)
    expected[0x11:0x19] = struct.pack("<Q", 1 << 63)
    assert data == expected
    assert first == bytes(64)


@pytest.mark.parametrize("address", [0, 0xFFF, 0x1039, 0x1040, (1 << 64) - 1])
def test_relocations_outside_of_the_image(address: int) -> None:
    with pytest.raises(ValueError, match=f"{address:#x}, outside"):
        apply_rela([(0x1000, memoryview(bytes(64)))], rela((address, 0x403, 7)))


def test_a_relocation_table_of_odd_size() -> None:
    with pytest.raises(ValueError, match="multiple of 24"):
        apply_rela([(0x1000, memoryview(bytes(64)))], bytes(25))


def test_finding_relocations() -> None:
    table = rela(*((0x1000 + 8 * i, 0x403, 0x1100 + i if i % 3 else 0) for i in range(50)))
    noise = struct.pack("<4Q", 0x403, 0x1000, 0x403, 0x403) * 5
    data = memoryview(noise + table + rela((0, 0, 0)) + noise)
    assert find_rela(data, 0x1000, 0x2000) == table
    assert find_rela(memoryview(bytes(100)), 0x1000, 0x2000) == b""
    assert find_rela(memoryview(struct.pack("<Q", 0x403)), 0x1000, 0x2000) == b""
