"""ELF kernels as other linkers and tools leave them."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.elf_edit import debug_only, with_many_sections
from makers.elf_maker import small_kernel

from kprobesim.errors import ImageError
from kprobesim.image import load_image


@pytest.fixture
def vmlinux(tmp_path: Path, arch: str) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(small_kernel(arch).build())
    return path


def test_more_sections_than_the_header_can_count(tmp_path: Path, vmlinux: Path) -> None:
    plain = load_image(vmlinux)
    many = tmp_path / "many"
    many.write_bytes(with_many_sections(vmlinux.read_bytes()))
    image = load_image(many)
    assert list(image.symbols) == list(plain.symbols)
    assert image.sections == {**plain.sections}
    assert image.regions == plain.regions


@pytest.mark.parametrize("keep_sizes", [False, True])
def test_debug_information_alone_is_no_kernel_but_has_symbols(
    tmp_path: Path, vmlinux: Path, keep_sizes: bool
) -> None:
    debug = tmp_path / "vmlinux.debug"
    debug.write_bytes(debug_only(vmlinux.read_bytes(), keep_sizes=keep_sizes))
    with pytest.raises(ImageError, match=r"debug information only.*symbols="):
        load_image(debug)
    image = load_image(vmlinux, symbols=debug)
    assert list(image.symbols) == list(load_image(vmlinux).symbols)
