"""Which files are meant by ``-k KERNEL...``: kernels by path, by pattern, or in folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from kprobesim.errors import UsageError
from kprobesim.snapshot.container import is_snapshot

__all__ = ["kernel_files"]

_KERNELS = (
    "vmlinu[xz]*",
    "[bz]*Image*",
    "Image*",
    "linux-image-*.deb",
    "linux-binary-*.deb",
    "*.parquet",
)
#: Debian's of other things than a kernel's image, which patterns match as well.
_OTHER_PACKAGES = ("linux-modules-*.deb", "linux-headers-*.deb", "linux-image-*-dbg_*.deb")
_MAGIC = "*?["
_MOST_FILES = 10_000


def kernel_files(
    names: Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """The files of kernels that are named, each once, in the order of the names.

    Args:
        names: Files, folders with what looks like a kernel below them, patterns as of a shell.

    Raises:
        UsageError: A name is of nothing, or nothing below it looks like a kernel.
    """
    found: dict[str, Path] = {}
    for name in names:
        for path in _files(os.fspath(name)):
            found.setdefault(os.path.realpath(path), path)
    if not found:
        raise UsageError("name at least one kernel: -k vmlinux, -k 'kernels/*.deb', -k FOLDER")
    return list(found.values())


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        found = sorted(file for file in _below(path) if _is_kernel(file))
        if not found:
            raise UsageError(f"{name}: no file below it looks like a kernel: name the files")
        return found
    if path.exists():
        return [path]
    if not any(letter in name for letter in _MAGIC):
        raise UsageError(f"{name}: there is no such file")
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - absolute patterns, too
    found = [
        file
        for match in matches
        for file in (_files(match) if Path(match).is_dir() else [Path(match)])
        if not _is_other(file)
    ]
    if not found:
        raise UsageError(f"{name} matches no kernel")
    return found


def _below(folder: Path) -> Iterator[Path]:
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        count += len(files)
        if count > _MOST_FILES:
            raise UsageError(f"{folder} has more than {_MOST_FILES:,} files: name a smaller folder")
        yield from (Path(parent, one) for one in files if not one.startswith("."))


def _is_kernel(path: Path) -> bool:
    if _is_other(path) or not path.is_file():
        return False
    return any(fnmatch(path.name, pattern) for pattern in _KERNELS) or is_snapshot(path)


def _is_other(path: Path) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in _OTHER_PACKAGES)
