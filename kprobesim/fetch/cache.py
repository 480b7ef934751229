"""Where fetched files lie, which of them is the newest, and the short names that stay the same."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

from kprobesim.arch.architecture import architecture
from kprobesim.errors import KprobesimError

__all__ = [
    "IMAGE",
    "FetchError",
    "VersionKey",
    "cache_directory",
    "cached",
    "cached_busybox",
    "link",
    "link_name",
]

IMAGE = re.compile(
    r"linux-(?:image|binary)-(?P<release>(?P<series>\d+\.\d+)\S*-cloud-\w+?)(?:-unsigned)?"
)
"""A package of a cloud kernel: Debian ships it in linux-image-*, since 6.19 in linux-binary-*."""

_SOURCES = Path(__file__).resolve().parents[2]


class FetchError(KprobesimError):
    """A kernel cannot be fetched: why, and what to do."""


@functools.total_ordering
class VersionKey:
    """Orders version strings as dpkg does (deb-version(7))."""

    def __init__(self, version: str) -> None:
        self.version = version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionKey) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    def __lt__(self, other: VersionKey) -> bool:
        command = ["dpkg", "--compare-versions", self.version, "lt", other.version]
        return subprocess.run(command, check=False).returncode == 0


def cache_directory() -> Path:
    """``$KPROBESIM_KERNELS``; else .cache/kernels in our sources, or the user's own cache."""
    chosen = os.environ.get("KPROBESIM_KERNELS")
    if chosen:
        return Path(chosen)
    if (_SOURCES / "pyproject.toml").is_file():
        return _SOURCES / ".cache/kernels"
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "kprobesim/kernels"


def cached(arch: str, directory: Path | None = None, series: str | None = None) -> Path | None:
    """The newest image package of ``arch`` that is in the cache already."""
    found = []
    for path in (directory or cache_directory()).glob(f"*_{architecture(arch).debian}.deb"):
        name, version, _ = path.name.split("_", 2)
        match = IMAGE.fullmatch(name)
        if match and series in (None, match["series"]):
            found.append((version, path))
    return max(found, key=lambda one: VersionKey(one[0]))[1] if found else None


def cached_busybox(arch: str, directory: Path | None = None) -> Path | None:
    """The newest BusyBox of ``arch`` that is in the cache already: a static program."""
    found = list((directory or cache_directory()).glob(f"busybox_*_{architecture(arch).debian}"))
    return max(found, key=lambda path: VersionKey(path.name.split("_")[1])) if found else None


def link_name(arch: str, series: str | None = None) -> str:
    """The short name of a kernel: "amd64.deb", or "amd64-6.12.deb" of a line of its own."""
    return f"{architecture(arch).debian}{f'-{series}' if series else ''}.deb"


def link(folder: Path, name: str, target: Path) -> Path:
    """Let ``name`` in ``folder`` lead to ``target``; a link that is there is replaced.

    Raises:
        FetchError: There is a file of that name, or none can be made.
    """
    place = folder / name
    if place.exists() and not place.is_symlink():
        raise FetchError(
            f"{place} is there and is no link of ours: move it away, or give another --to"
        )
    same = target.parent.resolve() == folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target.name if same else target.resolve())
    except OSError as error:
        raise FetchError(f"cannot make {place}: {error.strerror}; give another --to") from None
    return place
