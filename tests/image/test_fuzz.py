"""Damaged files end in an error of ours, never in another one, a hang or a flood of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from image.files.test_arm64_image import image_with_kallsyms
from image.symbols.test_symbols import SYSTEM_MAP
from makers.elf_maker import TEXT, small_kernel
from makers.package_maker import make_bzimage, make_deb, make_zboot

from kprobesim.errors import ImageError, SymbolError
from kprobesim.image import load_image

FUZZ = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def relocated_elf() -> bytes:
    maker = small_kernel("arm64")
    return maker.build()


SEEDS: dict[str, Callable[[], bytes]] = {
    "x86 ELF": lambda: small_kernel().build(),
    "arm64 ELF": relocated_elf,
    "bzImage LZ4": lambda: make_bzimage(small_kernel().build(), "LZ4"),
    "bzImage zstd": lambda: make_bzimage(small_kernel().build(), "zstd"),
    "bzImage XZ": lambda: make_bzimage(small_kernel().build(), "XZ"),
    "bzImage gzip": lambda: make_bzimage(small_kernel().build(), "gzip"),
    "deb xz": lambda: make_deb({"./boot/vmlinux": small_kernel().build()}, ".xz"),
    "deb zst": lambda: make_deb({"./boot/vmlinux": small_kernel().build()}, ".zst"),
    "deb gz": lambda: make_deb({"./boot/vmlinux": small_kernel().build()}, ".gz"),
    "deb": lambda: make_deb({"./boot/vmlinux": small_kernel().build()}, ""),
    "zboot": lambda: make_zboot(small_kernel("arm64").build(), "gzip"),
    "Image": lambda: image_with_kallsyms(0xFFFF800080000000, "6.12-arm64", rela=True)[0],
    "Image 7.0": lambda: image_with_kallsyms(0xFFFF800080000000, "7.0", rela=True)[0],
}
CACHE: dict[str, bytes] = {}


def seed(name: str) -> bytes:
    if name not in CACHE:
        CACHE[name] = SEEDS[name]()
    return CACHE[name]


def use_everything(path: Path, symbols: Path | None = None) -> None:
    """Touch all that an image has; each thing may be refused on its own."""
    try:
        image = load_image(path, symbols=symbols)
    except ImageError:
        return
    parts = "banner release version preemptible regions text_ranges init_text init percpu_load "
    parts += "sections exception_table bug_table mcount_sites kprobe_blacklist "
    parts += "ftrace_sites jump_table jump_labels static_calls"
    for part in parts.split():
        with contextlib.suppress(ImageError):
            getattr(image, part)
    with contextlib.suppress(ImageError):
        list(image.bug_table)
    with contextlib.suppress(ImageError):
        table = image.symbols
        everything = list(table)
        assert len(everything) == len(table)
        for symbol in everything[:: max(1, len(everything) // 50)]:
            with contextlib.suppress(SymbolError):
                assert table[symbol.name].name == symbol.name
            table.at(symbol.address)
            table.at(symbol.address + 1)
        with contextlib.suppress(SymbolError):
            _ = table["do_three"]
    for segment in image.segments:
        assert len(segment.data) <= segment.memsz
        assert len(image.read(segment.vaddr, 16 if segment.memsz >= 16 else 0)) in (0, 16)
    with contextlib.suppress(ImageError):
        image.read(TEXT["x86_64"] + 0x1000, 64)


def damage(data: bytes, edits: list[tuple[float, int]], keep: float) -> bytes:
    damaged = bytearray(data)
    for where, value in edits:
        damaged[int(where * (len(damaged) - 1))] = value
    return bytes(damaged[: int(len(damaged) * keep)])


PLACES = st.floats(0, 1, allow_nan=False)
#: Headers are where it matters: three of four edits go to the first two percent.
EDITS = st.lists(
    st.tuples(st.one_of(PLACES.map(lambda x: x * 0.02), PLACES.map(lambda x: x * 0.02), PLACES),
              st.integers(0, 255)),
    max_size=6,
)  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
@FUZZ
@given(edits=EDITS, keep=st.one_of(st.just(1.0), st.just(1.0), PLACES))
@example(edits=[], keep=1.0)
def test_damaged_files(
    tmp_path: Path, name: str, edits: list[tuple[float, int]], keep: float
) -> None:
    path = tmp_path / "file"
    path.write_bytes(damage(seed(name), edits, keep))
    use_everything(path)


@FUZZ
@given(
    where=st.integers(0, 15), word=st.integers(0, (1 << 64) - 1), arch=st.sampled_from(list(TEXT))
)
def test_words_of_section_headers(tmp_path: Path, where: int, word: int, arch: str) -> None:
    data = bytearray(seed("x86 ELF" if arch == "x86_64" else "arm64 ELF"))
    shoff = int.from_bytes(data[40:48], "little")
    for section in range(1, 8):
        at = shoff + 64 * section + where // 2 * 8
        data[at : at + 8] = word.to_bytes(8, "little")
        path = tmp_path / "file"
        path.write_bytes(data)
        use_everything(path)


@FUZZ
@given(data=st.binary(max_size=4096), magic=st.sampled_from(
    [b"", b"\x7fELF\x02\x01\x01", b"MZ", b"!<arch>\n", b"\x1f\x8b\x08", b"\xfd7zXZ\0",
     b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"BZh9", b"\x5d\0\0"]
))  # fmt: skip
def test_random_bytes(tmp_path: Path, data: bytes, magic: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(magic + data)
    use_everything(path)


@FUZZ
@given(edits=EDITS, keep=PLACES, noise=st.binary(max_size=200))
def test_damaged_symbol_files(
    tmp_path: Path, edits: list[tuple[float, int]], keep: float, noise: bytes
) -> None:
    path, symbols = tmp_path / "file", tmp_path / "System.map"
    path.write_bytes(seed("x86 ELF"))
    symbols.write_bytes(damage(SYSTEM_MAP.encode() + noise, edits, keep))
    use_everything(path, symbols)
