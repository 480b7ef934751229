"""An image that went through a snapshot says the same of itself as the original."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim import ImageError, SnapshotError
from kprobesim.image import KernelImage, Segment, load_image
from kprobesim.image.config import read_config
from kprobesim.image.state import identity, pack_image
from kprobesim.snapshot.container import read_container, write_container
from kprobesim.snapshot.packing import pack, pack_value, unpack_value
from kprobesim.snapshot.pages import PageWriter

PLAIN = """arch container entry path section_headers sections banner release version preemptible
percpu_load build_id regions text_ranges init_text init ftrace_sites has_symbols""".split()
LISTS = ("exception_table", "bug_table", "mcount_sites", "kprobe_blacklist")
SITES = ("jump_labels", "static_calls")


def store(image: KernelImage, path: Path) -> None:
    pages = PageWriter()
    sections = pack_image(image, pages)
    sections["pages"], sections["pages/sizes"] = pages.frames()
    write_container(path, {"pages": len(pages)}, sections)


def check_equal(image: KernelImage, again: KernelImage) -> None:
    for name in PLAIN:
        assert getattr(again, name) == getattr(image, name), name
    for name in LISTS:
        assert list(getattr(again, name)) == list(getattr(image, name)), name
    for name in SITES:
        assert getattr(again, name)._sites == getattr(image, name)._sites, name
    if image.has_symbols:
        assert again.symbols.source == image.symbols.source
        assert again.symbols.columns == image.symbols.columns
        for symbol in list(image.symbols)[::97]:
            assert again.symbols.candidates(symbol.name) == image.symbols.candidates(symbol.name)
            assert again.symbols.at(symbol.address + 3) == image.symbols.at(symbol.address + 3)
    for one, other in zip(image.segments, again.segments, strict=True):
        for name in Segment.__dataclass_fields__:
            assert getattr(one, name) == getattr(other, name), name
    assert identity(again) == identity(image)


def test_a_sample_comes_back(sample: Path, tmp_path: Path) -> None:
    image = load_image(sample)
    store(image, tmp_path / "a.kps")
    check_equal(image, load_image(tmp_path / "a.kps"))


def test_its_configuration_needs_no_file_of_its_own(sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(sample.read_bytes())
    (tmp_path / ".config").write_text("CONFIG_KPROBES=y\n")
    store(load_image(file), tmp_path / "a.kps")
    file.unlink()
    (tmp_path / ".config").write_text("CONFIG_KPROBES=n\n")
    assert read_config(load_image(tmp_path / "a.kps")) == {"CONFIG_KPROBES": "y"}


def test_nothing_is_read_that_is_not_asked_for(sample: Path, tmp_path: Path) -> None:
    store(load_image(sample), tmp_path / "a.kps")
    again = load_image(tmp_path / "a.kps")
    assert again.release
    assert again.build_id is None or again.build_id
    assert "_symbols" not in again.__dict__
    assert all(segment._data is None for segment in again.segments)  # type: ignore[attr-defined]


@pytest.mark.real_kernel
def test_a_real_kernel_comes_back(real_image: Path, tmp_path: Path) -> None:
    image = load_image(real_image)
    store(image, tmp_path / "a.kps")
    check_equal(image, load_image(tmp_path / "a.kps"))
    store(load_image(tmp_path / "a.kps"), tmp_path / "b.kps")
    assert (tmp_path / "a.kps").read_bytes() == (tmp_path / "b.kps").read_bytes()


def test_an_image_without_symbols(tmp_path: Path) -> None:
    segment = Segment(1 << 63, 0, memoryview(b"\x90" * 5000), 8192, True, False, True, "LOAD#0")
    image = KernelImage(
        Path("bare"), "x86_64", "test", 0, [segment], read_columns=lambda image: None
    )
    store(image, tmp_path / "a.kps")
    again = load_image(tmp_path / "a.kps")
    check_equal(image, again)
    with pytest.raises(ImageError, match="no symbol table"):
        _ = again.symbols


def test_other_symbols_for_a_snapshot(sample: Path, tmp_path: Path) -> None:
    store(load_image(sample), tmp_path / "a.kps")
    again = load_image(tmp_path / "a.kps", symbols=sample)
    assert again.symbols.source == f"symbol table of {sample.name}"
    assert again.symbols["strlen"] == load_image(sample).symbols["strlen"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arch", "mips"),
        ("arch", []),
        ("path", 1),
        ("path", "a\0b"),
        ("entry", -1),
        ("entry", 1.5),
        ("entry", 1 << 64),
        ("banner", None),
        ("build_id", 7),
        ("percpu_load", "x"),
        ("segments", [{}]),
        ("segments", 3),
        ("segments", [{"more": 1}]),
        ("section_headers", [{"name": "x"}]),
        ("symbols", 5),
        ("symbols", {"count": "many", "source": ""}),
        ("symbols", {"count": 1 << 40, "source": ""}),
        ("symbols", {"count": -1, "source": ""}),
        ("symbols", {}),
        ("symbols", ...),
        ("segments", []),
    ],
)
def test_sealed_nonsense(sample: Path, tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "a.kps"
    store(load_image(sample), path)
    found = read_container(path)
    sections = {key: bytes(data) for key, data in found.sections.items()}
    facts = unpack_value(sections["image"])
    changed = {**facts, name: value}
    if value is ...:
        del changed[name]
    sections["image"] = pack_value(changed)
    write_container(path, found.facts, sections)
    if (name, value) == ("path", "a\0b"):
        return  # a path that cannot be opened may still be shown
    with pytest.raises(SnapshotError):
        len(load_image(path).symbols)


@pytest.mark.parametrize(
    ("section", "content"),
    [
        ("symbols/names", bytes(64 << 20)),
        ("symbols/kinds", bytes(64 << 20)),
        ("image", b"[" + b"[]," * (11 << 20) + b"[]]"),
        ("image", b"[" * (8 << 20)),
    ],
    ids=["names", "kinds", "lists", "depth"],
)
def test_sections_that_unpack_to_far_more_than_they_say(
    sample: Path, tmp_path: Path, section: str, content: bytes
) -> None:
    path = tmp_path / "a.kps"
    store(load_image(sample), path)
    found = read_container(path)
    sections = {key: bytes(data) for key, data in found.sections.items()}
    sections[section] = pack(content)
    write_container(path, found.facts, sections)
    with pytest.raises(SnapshotError):
        len(load_image(path).symbols)


@pytest.mark.parametrize("change", ["runs", "size", "memsz", "vaddr", "readable"])
def test_sealed_nonsense_in_a_segment(sample: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.kps"
    store(load_image(sample), path)
    found = read_container(path)
    sections = {key: bytes(data) for key, data in found.sections.items()}
    facts = unpack_value(sections["image"])
    wrong = {"runs": b"\xff" * 12, "size": 1 << 60, "memsz": 1 << 62, "vaddr": -4, "readable": 1}
    facts["segments"][0][change] = wrong[change]
    sections["image"] = pack_value(facts)
    write_container(path, found.facts, sections)
    with pytest.raises(SnapshotError):
        bytes(load_image(path).segments[0].data)
