#!/usr/bin/env python3
"""Fetch Debian's newest cloud kernels, and a BusyBox to run on them, through APT as any user.

The packages come from the archives that this machine's own APT is configured for; each
architecture gets package lists of its own, so that neither the machine's architecture nor the age
of its lists matters. The packages land in .cache/kernels or in the directory that the environment
variable KPROBESIM_KERNELS names. What is there already is not downloaded again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
"""Our names of the architectures, and Debian's."""

_LISTS_SECONDS = 180
_DOWNLOAD_SECONDS = 900
_EXTRACT_SECONDS = 300
_NETWORK = ("Acquire::Retries=2", "Acquire::http::Timeout=20", "Acquire::https::Timeout=20")

_BUSYBOX = "busybox-static"

# Debian has shipped the image in linux-image-*-unsigned, and since 6.19 in linux-binary-*.
_IMAGE = re.compile(
    r"linux-(?:image|binary)-(?P<release>(?P<series>\d+\.\d+)\S*-cloud-\w+?)(?:-unsigned)?"
)


class FetchError(Exception):
    """The kernels cannot be fetched: why, in one line."""


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


def cache_directory() -> Path:
    """Where fetched kernels lie: ``$KPROBESIM_KERNELS``, or .cache/kernels beside the sources."""
    chosen = os.environ.get("KPROBESIM_KERNELS")
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / ".cache/kernels"


def cached(arch: str, directory: Path | None = None, series: str | None = None) -> Path | None:
    """The newest image package of ``arch`` that is in the cache already."""
    found = []
    for path in (directory or cache_directory()).glob(f"*_{ARCHITECTURES[arch]}.deb"):
        name, version, _ = path.name.split("_", 2)
        match = _IMAGE.fullmatch(name)
        if match and series in (None, match["series"]):
            found.append((version, path))
    return max(found, key=lambda one: _version_key(one[0]))[1] if found else None


def cached_busybox(arch: str, directory: Path | None = None) -> Path | None:
    """The newest BusyBox of ``arch`` that is in the cache already: a static program."""
    found = list((directory or cache_directory()).glob(f"busybox_*_{ARCHITECTURES[arch]}"))
    return max(found, key=lambda path: _version_key(path.name.split("_")[1])) if found else None


def fetch(
    arch: str,
    directory: Path | None = None,
    *,
    series: str | None = None,
    debug: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Fetched:
    """Bring the newest cloud kernel and BusyBox of ``arch`` into ``directory`` unless there.

    series : such as "6.12"; by default the line that Debian's own meta package installs
    debug  : also the full vmlinux from the debug package (10 times as large)

    Raises :class:`FetchError`.
    """
    archive = _Archive(arch, directory or cache_directory(), say)
    archive.update()
    return archive.fetch(series, debug)


def fetch_busybox(arch: str, directory: Path | None = None) -> Path:
    """Bring only the newest BusyBox of ``arch``; raises :class:`FetchError`."""
    archive = _Archive(arch, directory or cache_directory(), lambda text: None)
    archive.update()
    return archive.busybox()


@functools.total_ordering
class _VersionKey:
    """Orders version strings as dpkg does (deb-version(7))."""

    def __init__(self, version: str) -> None:
        self.version = version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _VersionKey) and self.version == other.version

    def __lt__(self, other: _VersionKey) -> bool:
        command = ["dpkg", "--compare-versions", self.version, "lt", other.version]
        return subprocess.run(command, check=False).returncode == 0


_version_key = _VersionKey


class _Archive:
    """The archive as APT sees it for one architecture."""

    def __init__(self, arch: str, directory: Path, say: Callable[[str], None]) -> None:
        self._arch = arch
        self._debian = ARCHITECTURES[arch]
        self._directory = directory
        self._say = say
        for tool in ("apt-get", "apt-cache", "dpkg", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise FetchError(f"{tool} is missing: the kernels are fetched with Debian's tools")
        state = directory / "apt" / self._debian
        try:
            for needed in ("lists/partial", "cache/archives/partial"):
                (state / needed).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FetchError(f"{error.filename}: {error.strerror}") from None
        options = [
            f"APT::Architecture={self._debian}",
            f"APT::Architectures={self._debian}",
            f"Dir::State::Lists={state / 'lists'}",
            f"Dir::Cache={state / 'cache'}",
            "Acquire::Languages=none",
            "APT::Sandbox::User=root",  # else root's APT could not write below a private home
            *_NETWORK,
        ]
        self._options = [part for option in options for part in ("-o", option)]

    def update(self) -> None:
        self._say(f"{self._arch}: reading the package lists")
        self._run(["apt-get", "-q", "update"], _LISTS_SECONDS)

    def fetch(self, series: str | None, debug: bool) -> Fetched:
        package, version = self._newest(series)
        image = self._download(package, version)
        match = _IMAGE.fullmatch(package)
        assert match is not None
        release = match["release"]
        vmlinux = self._vmlinux(release, version) if debug else None
        return Fetched(self._arch, package, release, version, image, vmlinux, self.busybox())

    def busybox(self) -> Path:
        """The program out of the package busybox-static."""
        version = self._versions([_BUSYBOX]).get(_BUSYBOX)
        if version is None:
            raise FetchError(f"APT offers no {_BUSYBOX} for {self._debian}")
        target = self._directory / f"busybox_{version.replace(':', '%3a')}_{self._debian}"
        if target.is_file():
            self._say(f"{self._arch}: {target.name} is there already")
            return target
        package = self._download(_BUSYBOX, version)
        with self._scratch() as scratch:
            self._run(["dpkg-deb", "--extract", str(package), scratch], _EXTRACT_SECONDS, apt=False)
            programs = list(Path(scratch).glob("**/bin/busybox"))  # /bin or /usr/bin
            if len(programs) != 1:
                raise FetchError(f"{package.name} holds {len(programs)} programs, not one")
            programs[0].replace(target)
        package.unlink()
        return target

    def _newest(self, series: str | None) -> tuple[str, str]:
        """Name and version of the newest image package, of the default line or of ``series``."""
        names = self._run(
            ["apt-cache", "search", "--names-only", rf"^linux-.*-cloud-{self._debian}"]
        )
        images = [
            match
            for line in names.splitlines()
            if (match := _IMAGE.fullmatch(line.split(" ", 1)[0]))
        ]
        if not images:
            raise FetchError(
                f"no cloud kernel for {self._debian} in this machine's APT sources: "
                "they must name a Debian archive that can be reached"
            )
        series = series or self._default_series()
        if series is not None:
            lines = sorted({match["series"] for match in images})
            images = [match for match in images if match["series"] == series]
            if not images:
                raise FetchError(
                    f"no cloud kernel of the line {series} for {self._debian}; "
                    f"there is {', '.join(lines)}"
                )
        versions = self._versions([match.group() for match in images])
        if not versions:
            raise FetchError(f"APT offers no version of the cloud kernels for {self._debian}")
        # The unsigned package of a version comes first, and is the smaller source of surprises.
        return max(
            versions.items(), key=lambda one: (_VersionKey(one[1]), one[0].endswith("-unsigned"))
        )

    def _default_series(self) -> str | None:
        meta = self._run(
            ["apt-cache", "show", "--no-all-versions", f"linux-image-cloud-{self._debian}"],
            may_fail=True,
        )
        match = re.search(r"^Depends: .*?linux-image-(\d+\.\d+)", meta, re.MULTILINE)
        return match[1] if match else None

    def _versions(self, packages: Sequence[str]) -> dict[str, str]:
        text = self._run(["apt-cache", "show", "--no-all-versions", *packages])
        return dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", text, re.MULTILINE))

    def _download(self, package: str, version: str) -> Path:
        """The package's file; it appears in the cache only when APT has verified it."""
        name = f"{package}_{version.replace(':', '%3a')}_{self._debian}.deb"
        target = self._directory / name
        if target.is_file():
            self._say(f"{self._arch}: {name} is there already")
            return target
        self._say(f"{self._arch}: downloading {name}")
        with self._scratch() as scratch:
            self._run(
                ["apt-get", "-q", "download", f"{package}={version}"],
                _DOWNLOAD_SECONDS,
                cwd=scratch,
            )
            files = list(Path(scratch).glob("*.deb"))
            if len(files) != 1:
                raise FetchError(f"apt-get download {package} left {len(files)} packages, not one")
            files[0].replace(target)
        return target

    def _vmlinux(self, release: str, version: str) -> Path:
        """The vmlinux with all symbols, taken out of the debug package."""
        target = self._directory / f"vmlinux-{release}"
        if target.is_file():
            self._say(f"{self._arch}: {target.name} is there already")
            return target
        package = self._download(f"linux-image-{release}-dbg", version)
        self._say(f"{self._arch}: extracting {target.name}")
        with self._scratch() as scratch:
            member = f"./usr/lib/debug/boot/vmlinux-{release}"
            command = 'set -e -o pipefail; dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" -f - "$2"'
            self._run(
                ["bash", "-c", command, str(package), scratch, member], _EXTRACT_SECONDS, apt=False
            )
            (Path(scratch) / member).replace(target)
        return target

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Where a file grows until it is whole, on the same file system as its place."""
        return tempfile.TemporaryDirectory(prefix="scratch-", dir=self._directory)

    def _run(
        self,
        command: Sequence[str],
        seconds: int = 60,
        *,
        cwd: str | None = None,
        apt: bool = True,
        may_fail: bool = False,
    ) -> str:
        """The output of an APT command with this architecture's options."""
        words = [command[0], *(self._options if apt else ()), *command[1:]]
        try:
            done = subprocess.run(
                words,
                cwd=cwd,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"{' '.join(command[:3])} took more than {seconds} s") from None
        if done.returncode and not may_fail:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            errors = [line for line in lines if line.startswith("E:")]
            raise FetchError(f"{' '.join(command[:3])} failed: {(errors or lines)[0]}")
        return done.stdout


def _is_complete(arch: str, directory: Path | None, series: str | None) -> bool:
    return bool(cached(arch, directory, series) and cached_busybox(arch, directory))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arch", choices=ARCHITECTURES, help="only this architecture")
    parser.add_argument("--series", help="this line of kernels, such as 6.12")
    parser.add_argument("--debug", action="store_true", help="also the full vmlinux (280 MB each)")
    parser.add_argument(
        "--missing",
        action="store_true",
        help="do nothing for an architecture with any kernel and BusyBox",
    )
    parser.add_argument("--cache", type=Path, help="directory (default: $KPROBESIM_KERNELS)")
    parser.add_argument("--json", action="store_true", help="print what was fetched as JSON")
    options = parser.parse_args(arguments)
    if options.series and not re.fullmatch(r"\d+\.\d+", options.series):
        parser.error(f"--series {options.series}: give two numbers, such as 6.12")

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    fetched = []
    try:
        for arch in [options.arch] if options.arch else ARCHITECTURES:
            if options.missing and _is_complete(arch, options.cache, options.series):
                continue
            fetched.append(
                fetch(arch, options.cache, series=options.series, debug=options.debug, say=say)
            )
    except (FetchError, OSError) as error:
        say(f"fetch_kernels: {error}")
        return 1
    if options.json:
        print(json.dumps([asdict(one) for one in fetched], default=str, indent=2))
    else:
        for one in fetched:
            print(*filter(None, (one.image, one.vmlinux, one.busybox)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
