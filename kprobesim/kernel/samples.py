"""Where the two sample guests are."""

from __future__ import annotations

from pathlib import Path

from kprobesim.errors import ImageError

__all__ = ["sample_path"]

_PACKAGE = Path(__file__).resolve().parent.parent


def sample_path(arch: str) -> Path:
    """The sample guest of ``arch``: in the installed package, or in the sources beside it."""
    name = f"guest-{arch}.elf"
    for folder in (_PACKAGE / "samples", _PACKAGE.parent / "samples"):
        if (folder / name).is_file():
            return folder / name
    raise ImageError(
        _PACKAGE / "samples" / name,
        "is missing; reinstall kprobesim, or run `make samples` in its sources",
    )
