"""The files that people mean by names of files, folders and patterns."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from kprobesim.errors import UsageError

__all__ = ["source_files"]

_MOST_FILES = 10_000  # of a folder


def source_files(name: str) -> list[tuple[Path, bool]]:
    """The files that a name stands for, and whether each was named itself.

    Args:
        name: A file, a folder, a pattern as of a shell (``probes/**/*.bt``), or ``-``.

    Raises:
        UsageError: It is of nothing, or of more files than anybody means.
    """
    path = Path(name)
    if name == "-":
        return [(path, True)]
    if path.is_dir():
        found = [(one, False) for one in _below(path)]
        if not found:
            raise UsageError(f"{name} is a folder without files: name another")
        return found
    if path.exists() or not glob.has_magic(name):
        if not path.exists():
            raise UsageError(f"{name}: there is no such file")
        return [(path, True)]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - absolute patterns, too
    if not matches:
        raise UsageError(f"{name} matches no file")
    return [one for match in matches for one in source_files(match)]


def _below(folder: Path) -> list[Path]:
    """All files below a folder, but for hidden ones; links to folders are not followed."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        found += [Path(parent, one) for one in sorted(files) if not one.startswith(".")]
        if len(found) > _MOST_FILES:
            raise UsageError(f"{folder} has more than {_MOST_FILES:,} files: name a smaller folder")
    return found
