"""APT for one architecture, as any user: package lists, downloads and contents of packages.

Each architecture gets package lists of its own, so that neither the machine's architecture nor the
age of its lists matters.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kprobesim.arch.architecture import architecture
from kprobesim.fetch.cache import FetchError

__all__ = ["Apt"]

_TOOLS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")
_LISTS_SECONDS = 180
_DOWNLOAD_SECONDS = 900
_EXTRACT_SECONDS = 300
_NETWORK = ("Acquire::Retries=2", "Acquire::http::Timeout=20", "Acquire::https::Timeout=20")
_STATUS = re.compile(r"dlstatus:[^:]*:([\d.]+):")  # of APT::Status-Fd, in percent
_WITHOUT_APT = (
    "kernels are fetched with Debian's own tools; without them, take a linux-image-*-cloud-* "
    "package from pool/main/l/linux on any Debian mirror, or the vmlinux of a kernel that you "
    "have built: every command takes the name of such a file"
)


class Apt:
    """The archives that this machine's APT is configured for, seen as ``arch`` sees them.

    Args:
        arch: "x86_64" or "arm64".
        directory: Where lists and packages are kept.
        percent: Hears how much of a download is there, from 0 to 100.
        sources: A list of archives instead of this machine's; those of them that cannot be read
            are left out.

    Raises:
        FetchError: This machine has no APT, or ``directory`` cannot be written.
    """

    def __init__(
        self,
        arch: str,
        directory: Path,
        percent: Callable[[float], None] | None = None,
        sources: Path | None = None,
    ) -> None:
        self.debian = architecture(arch).debian
        self._directory = directory
        self._percent = percent
        for tool in _TOOLS:
            if shutil.which(tool) is None:
                raise FetchError(f"{tool} is missing: {_WITHOUT_APT}")
        state = directory / "apt" / self.debian
        try:
            for needed in ("lists/partial", "cache/archives/partial"):
                (state / needed).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FetchError(
                f"{error.filename}: {error.strerror}; name another folder with --cache"
            ) from None
        options = [
            f"APT::Architecture={self.debian}",
            f"APT::Architectures={self.debian}",
            f"Dir::State::Lists={state / 'lists'}",
            f"Dir::Cache={state / 'cache'}",
            "Acquire::Languages=none",
            "APT::Sandbox::User=root",  # else root's APT could not write below a private home
            *_NETWORK,
        ]
        self._lenient = sources is not None
        if sources is not None:
            options += [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=-"]
        self._options = [part for option in options for part in ("-o", option)]

    def update(self) -> None:
        """Read the package lists anew."""
        self._run(["apt-get", "-q", "update"], _LISTS_SECONDS, check=not self._lenient)

    def names(self, pattern: str) -> list[str]:
        """The packages whose names match."""
        found = self._run(["apt-cache", "search", "--names-only", pattern])
        return [line.split(" ", 1)[0] for line in found.splitlines()]

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """The newest version of each package that there is."""
        text = self._run(["apt-cache", "show", "--no-all-versions", *packages])
        return dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", text, re.MULTILINE))

    def depends(self, package: str) -> str:
        """What it depends on, as its line says; empty if there is no such package."""
        text = self._run(["apt-cache", "show", "--no-all-versions", package], check=False)
        match = re.search(r"^Depends: (.*)$", text, re.MULTILINE)
        return match[1] if match else ""

    def download(self, package: str, version: str, target: Path) -> None:
        """Put the package's file at ``target``; it appears there when APT has verified it."""
        with self.scratch() as scratch:
            self._run(
                ["apt-get", "-q", "download", f"{package}={version}"],
                _DOWNLOAD_SECONDS,
                cwd=scratch,
            )
            files = list(Path(scratch).glob("*.deb"))
            if len(files) != 1:
                raise FetchError(f"apt-get download {package} left {len(files)} packages, not one")
            files[0].replace(target)

    def extract(self, package: Path, folder: str, member: str | None = None) -> None:
        """Unpack a package, or one member of it, into ``folder``."""
        if member is None:
            command = ["dpkg-deb", "--extract", str(package), folder]
        else:
            script = 'set -e -o pipefail; dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" -f - "$2"'
            command = ["bash", "-c", script, str(package), folder, member]
        self._run(command, _EXTRACT_SECONDS)

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Where a file grows until it is whole, on the same file system as its place."""
        return tempfile.TemporaryDirectory(prefix="scratch-", dir=self._directory)

    def _run(
        self,
        command: Sequence[str],
        seconds: float = 60,
        *,
        cwd: str | None = None,
        check: bool = True,
    ) -> str:
        """The output of a tool; APT's get the options of this architecture."""
        apt = command[0].startswith("apt-")
        status, tell = os.pipe() if command[0] == "apt-get" and self._percent else (-1, -1)
        words = [command[0], *(self._options if apt else ()), *command[1:]]
        if tell >= 0:
            words[1:1] = ["-o", f"APT::Status-Fd={tell}"]
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "LC_ALL": "C"},
                pass_fds=(tell,) if tell >= 0 else (),
            )
        finally:
            if tell >= 0:
                os.close(tell)
        with process:
            try:
                if status >= 0:
                    self._follow(status, time.monotonic() + seconds)
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise FetchError(
                    f"{' '.join(command[:3])} took more than {seconds} s: try again, or give "
                    "--series or --arch to fetch less"
                ) from None
            finally:
                if status >= 0:
                    os.close(status)
        if process.returncode and check:
            lines = err.strip().splitlines() or [f"status {process.returncode}"]
            errors = [line for line in lines if line.startswith("E:")]
            raise FetchError(f"{' '.join(command[:3])} failed: {(errors or lines)[0]}")
        return out

    def _follow(self, status: int, deadline: float) -> None:
        """Tell of the progress until the tool closes its end of ``status``."""
        assert self._percent is not None
        with selectors.DefaultSelector() as selector:
            selector.register(status, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(status, 4096)
                if not data:
                    return
                found = _STATUS.findall(data.decode("utf-8", "replace"))
                if found:
                    self._percent(float(found[-1]))
        raise subprocess.TimeoutExpired("apt-get", 0)
