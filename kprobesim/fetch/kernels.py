"""Fetching: the newest cloud kernel of a line, its vmlinux with symbols, and a BusyBox.

The packages come from the archives that this machine's own APT is configured for, and APT verifies
them. What is in the cache already is not downloaded again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kprobesim.arch.architecture import architecture
from kprobesim.fetch.apt import Apt
from kprobesim.fetch.cache import IMAGE, FetchError, VersionKey, cache_directory

__all__ = ["Available", "Fetched", "Fetcher", "Say"]

_BUSYBOX = "busybox-static"

Say = Callable[[str], None]
"""Hears what is being done."""


@dataclass(frozen=True)
class Available:
    """A kernel that an archive has: architecture, line ("6.12"), release, package and version."""

    arch: str
    series: str
    release: str
    package: str
    version: str


@dataclass(frozen=True)
class Fetched:
    """One architecture's kernel: package, release (``uname -r``) and files; and its BusyBox."""

    arch: str
    package: str
    release: str
    version: str
    image: Path
    vmlinux: Path | None
    busybox: Path


class Fetcher:
    """Brings kernels of one architecture into a folder.

    Args:
        arch: "x86_64" or "arm64".
        directory: The folder; by default :func:`cache_directory`.
        say: Hears what is being done.
        percent: Hears how much of a download is there, from 0 to 100.
        sources: A list of archives instead of those that this machine's APT knows.

    Raises:
        FetchError: There is no APT here, no archive, or no such folder.
    """

    def __init__(
        self,
        arch: str,
        directory: Path | None = None,
        say: Say = lambda text: None,
        percent: Callable[[float], None] | None = None,
        sources: Path | None = None,
    ) -> None:
        self._arch = arch
        self._directory = (directory or cache_directory()).absolute()
        self._say = say
        self._apt = Apt(arch, self._directory, percent, sources)
        say(f"{arch}: reading the package lists")
        self._apt.update()

    def available(self) -> list[Available]:
        """The newest kernel of each line, the oldest line first."""
        found = self._images()
        lines = sorted({one.series for one in found}, key=VersionKey)
        return [max((one for one in found if one.series == line), key=_newness) for line in lines]

    def kernels(self) -> list[Available]:
        """All kernels that there are, the newest first."""
        return sorted(self._images(), key=_newness, reverse=True)

    def download(self, kernel: Available) -> Path:
        """Bring one of :meth:`kernels`; raises :class:`FetchError`."""
        return self._download(kernel.package, kernel.version)

    def fetch(self, series: str | None = None, *, debug: bool = False) -> Fetched:
        """Bring the newest kernel, and a BusyBox.

        Args:
            series: Its line, such as "6.12"; by default the one that Debian's own meta package
                installs.
            debug: Also the full vmlinux from the debug package (10 times as large).

        Raises:
            FetchError: The archive has no such kernel, or the download fails.
        """
        newest = self._newest(series)
        image = self._download(newest.package, newest.version)
        vmlinux = self._vmlinux(newest.release, newest.version) if debug else None
        return Fetched(
            arch=self._arch,
            package=newest.package,
            release=newest.release,
            version=newest.version,
            image=image,
            vmlinux=vmlinux,
            busybox=self.busybox(),
        )

    def busybox(self) -> Path:
        """Bring the program out of the package busybox-static."""
        debian = architecture(self._arch).debian
        version = self._apt.versions([_BUSYBOX]).get(_BUSYBOX)
        if version is None:
            raise FetchError(f"APT offers no {_BUSYBOX} for {debian}")
        target = self._directory / f"busybox_{version.replace(':', '%3a')}_{debian}"
        if self._is_there(target):
            return target
        package = self._download(_BUSYBOX, version)
        with self._apt.scratch() as scratch:
            self._apt.extract(package, scratch)
            programs = list(Path(scratch).glob("**/bin/busybox"))  # /bin or /usr/bin
            if len(programs) != 1:
                raise FetchError(f"{package.name} holds {len(programs)} programs, not one")
            programs[0].replace(target)
        package.unlink()
        return target

    def _images(self) -> list[Available]:
        debian = architecture(self._arch).debian
        names = self._apt.names(rf"^linux-.*-cloud-{debian}")
        matches = [match for match in map(IMAGE.fullmatch, names) if match]
        if not matches:
            raise FetchError(
                f"no cloud kernel for {debian} in this machine's APT sources: "
                "they must name a Debian archive that can be reached"
            )
        versions = self._apt.versions([match.group() for match in matches])
        if not versions:
            raise FetchError(f"APT offers no version of the cloud kernels for {debian}")
        return [
            Available(
                arch=self._arch,
                series=match["series"],
                release=match["release"],
                package=match.group(),
                version=versions[match.group()],
            )
            for match in matches
            if match.group() in versions
        ]

    def _newest(self, series: str | None) -> Available:
        images = self._images()
        series = series or self._default_series()
        if series is not None:
            lines = sorted({one.series for one in images})
            images = [one for one in images if one.series == series]
            if not images:
                raise FetchError(
                    f"no cloud kernel of the line {series} for {architecture(self._arch).debian}; "
                    f"there is {', '.join(lines)}"
                )
        return max(images, key=_newness)

    def _default_series(self) -> str | None:
        depends = self._apt.depends(f"linux-image-cloud-{architecture(self._arch).debian}")
        match = re.search(r"linux-image-(\d+\.\d+)", depends)
        return match[1] if match else None

    def _is_there(self, target: Path) -> bool:
        if target.is_file():
            self._say(f"{self._arch}: {target.name} is there already")
            return True
        return False

    def _download(self, package: str, version: str) -> Path:
        name = f"{package}_{version.replace(':', '%3a')}_{architecture(self._arch).debian}.deb"
        target = self._directory / name
        if not self._is_there(target):
            self._say(f"{self._arch}: downloading {name}")
            self._apt.download(package, version, target)
        return target

    def _vmlinux(self, release: str, version: str) -> Path:
        """The vmlinux with all symbols, taken out of the debug package."""
        target = self._directory / f"vmlinux-{release}"
        if self._is_there(target):
            return target
        package = self._download(f"linux-image-{release}-dbg", version)
        self._say(f"{self._arch}: extracting {target.name}")
        with self._apt.scratch() as scratch:
            member = f"./usr/lib/debug/boot/vmlinux-{release}"
            self._apt.extract(package, scratch, member)
            (Path(scratch) / member).replace(target)
        return target


def _newness(one: Available) -> tuple[VersionKey, bool]:
    """The unsigned package of a version comes first, and is the smaller source of surprises."""
    return VersionKey(one.version), one.package.endswith("-unsigned")
