"""load_image: what a file is, is found from its content; what it cannot be, is said."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from makers.elf_maker import BANNER, TEXT, Load, R, W, X, small_kernel
from makers.package_maker import (
    COMPRESS,
    TAR_COMPRESS,
    make_bzimage,
    make_deb,
    make_uki,
    make_zboot,
)

from kprobesim.errors import ImageError
from kprobesim.image import load_image


def write(tmp_path: Path, data: bytes, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refusal(tmp_path: Path, data: bytes) -> str:
    path = write(tmp_path, data)
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value.problem


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_an_elf_file(tmp_path: Path, arch: str) -> None:
    image = load_image(write(tmp_path, small_kernel(arch).build()))
    base = TEXT[arch]
    assert (image.arch, image.container) == (arch, "vmlinux ELF")
    assert [(s.vaddr, s.end) for s in image.segments] == [
        (base, base + 0x3000),
        (base + 0x3000, base + 0x5000),
    ]
    assert image.banner == BANNER
    assert image.release == "6.1.7-test"
    assert image.version == (6, 1, 7)
    assert image.preemptible
    assert image.text_ranges == ((base, base + 0x1F00),)
    assert image.is_kernel_text(base + 0x1EFF)
    assert not image.is_kernel_text(base + 0x1F00)
    assert image.sections[".bss"] == (base + 0x4000, 0x1000)
    assert image.bounds("_text", "_etext") == (base, base + 0x1F00)
    assert image.bounds("_text", "nothing") is None
    assert image.bounds("_etext", "_text") is None


def test_reading(tmp_path: Path) -> None:
    image = load_image(write(tmp_path, small_kernel().build()))
    base = TEXT["x86_64"]
    assert image.read(base + 0x3FFE, 4) == b"\xfe\xff\0\0"  # into the bss
    assert image.read(base + 0x2FFF, 2) == b"\0\0"  # across segments
    assert image.read(base, 0) == b""
    assert image.contains(base + 0x4FFF)
    assert not image.contains(base + 0x5000)
    assert not image.contains(base - 1)
    with pytest.raises(ImageError, match="has nothing at 0xffffffff81005000"):
        image.read(base + 0x4FFF, 2)
    assert image.read_string(base + 0x2000) == BANNER
    assert image.read_string(base - 1) is None


@pytest.mark.parametrize("kind", COMPRESS)
def test_bzimage(tmp_path: Path, kind: str) -> None:
    image = load_image(write(tmp_path, make_bzimage(small_kernel().build(), kind)))
    assert image.container == f"bzImage ({kind})"
    assert image.symbols["do_one"].address == TEXT["x86_64"]


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressed_files(tmp_path: Path, kind: str) -> None:
    packed = COMPRESS[kind](small_kernel("arm64").build())
    assert load_image(write(tmp_path, packed)).container == f"vmlinux ELF ({kind})"


@pytest.mark.parametrize("ending", TAR_COMPRESS)
def test_debian_package(tmp_path: Path, ending: str) -> None:
    files = {
        "./": b"",
        "./boot/": b"",
        "./boot/config-6.1": b"CONFIG_X=y",
        "./usr/share/doc/vmlinuz-readme": b"not a kernel",
        "./boot/vmlinuz-6.1": make_bzimage(small_kernel().build(), "LZ4"),
    }
    said: list[str] = []
    image = load_image(write(tmp_path, make_deb(files, ending)), progress=said.append)
    assert image.container == "Debian package, bzImage (LZ4)"
    assert image.banner == BANNER
    assert any("boot/vmlinuz-6.1" in text for text in said)


@pytest.mark.parametrize(
    "name",
    [
        "./usr/lib/debug/boot/vmlinux-6.1.0",
        "./usr/lib/debug/lib/modules/7.2.13/vmlinux",
        "./usr/lib/modules/7.2.13/vmlinuz",
        "./boot/Image",
    ],
)
def test_where_packages_keep_kernels(tmp_path: Path, name: str) -> None:
    image = load_image(write(tmp_path, make_deb({name: small_kernel().build()})))
    assert image.container == "Debian package, vmlinux ELF"


def test_a_large_member_goes_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kprobesim.image.files.archive._IN_MEMORY", 1000)
    image = load_image(write(tmp_path, make_deb({"./boot/vmlinux": small_kernel().build()})))
    assert image.read(TEXT["x86_64"], 2) == b"\x90\x90"


def test_a_package_without_a_kernel_names_the_one_that_has_it(tmp_path: Path) -> None:
    control = "Package: linux-image-amd64\nDepends: a | b, linux-image-6.1.0-9-amd64 (= 6.1.9-1)\n"
    text = refusal(tmp_path, make_deb({"./usr/share/doc/x": b""}, control=control))
    assert "linux-image-amd64" in text
    assert "it depends on linux-image-6.1.0-9-amd64, get that one" in text
    assert "-dbg package" in refusal(tmp_path, make_deb({}))


def test_efi_zboot(tmp_path: Path) -> None:
    data = make_zboot(small_kernel("arm64").build(), "zstd")
    assert load_image(write(tmp_path, data)).container == "vmlinux ELF (EFI zboot, zstd)"
    assert "ends at byte" in refusal(tmp_path, data[:0x1010])


def test_build_id_of_a_damaged_file_is_none(tmp_path: Path) -> None:
    from kprobesim.image.tables.build_id import read_build_id

    assert load_image(write(tmp_path, small_kernel().build())).build_id is None
    data = bytearray((Path(__file__).parents[2] / "samples" / "guest-x86_64.elf").read_bytes())
    for at in range(0x20, 0x200, 3):
        data[at] ^= 0xFF
        assert read_build_id(bytes(data)) is None


def test_unified_kernel_image(tmp_path: Path) -> None:
    data = make_uki(make_bzimage(small_kernel().build(), "zstd"))
    image = load_image(write(tmp_path, data))
    assert image.container == "unified kernel image, bzImage (zstd)"
    assert image.banner == BANNER
    for broken in (make_uki(b"x", b".text"), data[:300], b"MZ" + bytes(5000)):
        assert "no section .linux" in refusal(tmp_path, broken)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load_image(tmp_path / "missing")
    with pytest.raises(ImageError, match="is a directory"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="is empty"):
        load_image(write(tmp_path, b""))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(tmp_path / "fifo")
    with pytest.raises(ImageError, match="is no path"):
        load_image("a\0b")


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path, small_kernel().build())
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        load_image(path)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"\xed\xab\xee\xdb" + bytes(200), "rpm2cpio"),
        (b"ANDROID!" + bytes(200), "unpack_bootimg"),
        (b"#!/bin/sh\n", "starts with 23 21"),
        (b"07070100000001", "name the kernel, and this as initrd="),
        (b"\x9f\xeb\x01\0" + bytes(50), "BTF"),
        (bytes(0x8001) + b"CD001", "disk image"),
        (b"MZ" + bytes(0x36) + b"RSC\x05" + bytes(99), "for RISC-V"),
        (bytes(0x24) + b"\x18\x28\x6f\x01" + bytes(99), "32-bit ARM"),
        (b"ffffffff81000000 T _text\n", "and this as symbols="),
        (b"\x89LZO" + bytes(99), "does not start as lzop"),
        (b"!<arch>\n", "no Debian package"),
        (b"!<arch>\n" + b"x" * 100, "damaged ar header"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, hint: str) -> None:
    assert hint in refusal(tmp_path, data)


def test_an_archive_in_a_compressed_file_is_unpacked_only_so_deep(tmp_path: Path) -> None:
    data = small_kernel().build()
    for _ in range(7):
        data = COMPRESS["gzip"](data)
    assert "packed more than" in refusal(tmp_path, data)


@pytest.mark.parametrize("kind", COMPRESS)
def test_payloads_that_are_cut_short(tmp_path: Path, kind: str) -> None:
    packed = COMPRESS[kind](small_kernel().build() + os.urandom(50_000))
    for keep in (0.3, 0.9):
        text = refusal(tmp_path, packed[: int(len(packed) * keep)])
        assert "copy or extract it again" in text


def test_damaged_bzimages(tmp_path: Path) -> None:
    good = make_bzimage(small_kernel().build(), "zstd")
    assert "payload ends at byte" in refusal(tmp_path, good[:-2000])
    assert "only 600 bytes" not in refusal(tmp_path, good[:600])
    assert "instead of" in refusal(tmp_path, make_bzimage(bytes(5000), "XZ", size=9000))
    assert "instead of" in refusal(tmp_path, make_bzimage(bytes(5000), "XZ", size=100))
    old = bytearray(good)
    struct.pack_into("<H", old, 0x206, 0x201)
    assert "boot protocol 2.01" in refusal(tmp_path, bytes(old))
    odd = bytearray(good)
    odd[odd.index(b"\x28\xb5\x2f\xfd")] = 0
    assert "no known compression" in refusal(tmp_path, bytes(odd))


@pytest.mark.parametrize("kind", COMPRESS)
def test_decompression_bombs(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kprobesim.image.files.containers.MAX_IMAGE_SIZE", 1 << 20)
    bomb = COMPRESS[kind](bytes(4 << 20))
    assert "unpacks to more than 1048576 bytes" in refusal(tmp_path, bomb)


def test_a_package_that_unpacks_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kprobesim.image.files.compression._FREE", 1 << 16)
    data = make_deb({"./big": bytes(8 << 20), "./boot/vmlinuz": small_kernel().build()})
    assert "unpacks to more than" in refusal(tmp_path, data)


def test_damaged_packages(tmp_path: Path) -> None:
    good = make_deb({"./boot/vmlinux": small_kernel().build() + os.urandom(3000)})
    assert "in the middle of a member" in refusal(tmp_path, good[:-100])
    for ending in TAR_COMPRESS:
        data = bytearray(make_deb({"./boot/vmlinux": os.urandom(3000)}, ending))
        data[-2000:-1000] = bytes(1000)
        refusal(tmp_path, bytes(data))


def header(offset: int, code: str, value: int) -> bytes:
    data = bytearray(small_kernel().build())
    struct.pack_into(code, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "code", "value", "problem"),
    [
        (4, "<B", 1, "32-bit ELF"),
        (5, "<B", 2, "big-endian ELF"),
        (18, "<H", 243, "for RISC-V"),
        (18, "<H", 999, "machine number 999"),
        (16, "<H", 1, "object file or module"),
        (16, "<H", 4, "core dump"),
        (16, "<H", 77, "type 77"),
        (32, "<Q", 1 << 60, "program headers end at"),
        (52, "<H", 9, "ELF header of 9 bytes"),
        (54, "<H", 9, "program headers of 9 bytes"),
        (56, "<H", 0, "no loadable segment"),
        (56, "<H", 60000, "program headers end at"),
        (40, "<Q", 1 << 50, "section headers end at"),
        (58, "<H", 9, "section headers of 9 bytes"),
        (62, "<H", 200, "names its sections from"),
        (64 + 8, "<Q", 1 << 40, "segment 0's bytes end at"),
        (64 + 32, "<Q", 1 << 40, "more bytes in the file than in memory"),
        (64 + 40, "<Q", 1, "more bytes in the file than in memory"),
        (64 + 40, "<Q", 1 << 40, "wraps around"),
        (64 + 56 + 16, "<Q", TEXT["x86_64"] + 0x2000, "overlap"),
    ],
)
def test_every_header_field_is_checked(
    tmp_path: Path, offset: int, code: str, value: int, problem: str
) -> None:
    assert problem in refusal(tmp_path, header(offset, code, value))


def test_too_much_memory(tmp_path: Path) -> None:
    maker = small_kernel()
    maker.loads[1] = Load(TEXT["x86_64"] + 0x3000, b"x", R | W, 0x1003000, 0x7000_0000)
    assert "limit is 1 GiB" in refusal(tmp_path, maker.build())


def test_percpu_segment_at_zero_is_put_where_it_is_loaded(tmp_path: Path) -> None:
    maker = small_kernel()
    maker.loads.append(Load(0, b"percpu!!" * 16, R | W, 0x1006000))
    image = load_image(write(tmp_path, maker.build()))
    where = TEXT["x86_64"] + 0x6000
    assert image.percpu_load == where
    assert image.read(where, 8) == b"percpu!!"
    assert not image.contains(0)


def test_data_cannot_be_changed(tmp_path: Path) -> None:
    image = load_image(write(tmp_path, small_kernel().build()))
    assert all(segment.data.readonly for segment in image.segments)


def test_without_symbols(tmp_path: Path) -> None:
    maker = small_kernel()
    maker.symbols = None
    maker.sections = []
    image = load_image(write(tmp_path, maker.build()))
    assert image.banner == BANNER
    assert image.text_ranges == ((TEXT["x86_64"], TEXT["x86_64"] + 0x3000),)
    assert [r.kind for r in image.regions] == ["text", "data"]
    assert len(image.exception_table) == 0
    with pytest.raises(ImageError, match="pass symbols="):
        _ = image.symbols


def test_flags(tmp_path: Path) -> None:
    image = load_image(write(tmp_path, small_kernel().build()))
    first, second = image.segments
    assert (first.readable, first.writable, first.executable) == (True, False, True)
    assert (second.readable, second.writable, second.executable) == (True, True, False)
    assert first.paddr == 0x1000000
    assert R | W | X == 7
