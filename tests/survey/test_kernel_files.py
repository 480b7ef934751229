"""Kernels are named by path, by pattern, or by the folder that they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.errors import UsageError
from kprobesim.survey.kernel_files import kernel_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with kernels, and other things beside them."""
    for name in (
        "vmlinux-6.1",
        "README.md",
        "old/linux-image-5.10_amd64.deb",
        "old/linux-modules-5.10_amd64.deb",
        "old/linux-image-5.10-dbg_5.10_amd64.deb",
        "new/6.12.parquet",
        ".hidden/vmlinux",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_what_looks_like_a_kernel(folder: Path) -> None:
    names = [path.name for path in kernel_files([folder])]
    assert names == ["6.12.parquet", "linux-image-5.10_amd64.deb", "vmlinux-6.1"]


def test_a_pattern_leaves_out_packages_of_other_things(folder: Path) -> None:
    names = [path.name for path in kernel_files([f"{folder}/old/*.deb"])]
    assert names == ["linux-image-5.10_amd64.deb"]


def test_a_file_that_is_named_is_taken_once(folder: Path) -> None:
    readme = folder / "README.md"
    assert kernel_files([readme, f"{folder}/README.*", readme]) == [readme]


@pytest.mark.parametrize("name", ["nothing", "nothing*", "empty"])
def test_what_names_no_kernel_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name.rstrip("*")):
        kernel_files([tmp_path / name])
    with pytest.raises(UsageError):
        kernel_files([])
