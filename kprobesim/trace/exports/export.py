"""``Export``: a file that takes the entries of a trace as they come; its suffix says which kind."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.errors import UsageError
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.frames import StackNames

__all__ = ["About", "Export", "ProfileRow", "check_export", "needs_stacks", "open_export"]


@dataclass(frozen=True)
class ProfileRow:
    """One line of ``kprobe_profile``.

    Attributes:
        event: ``GROUP/NAME``.
        hits: How often the probe's handler ran.
        misses: How often it could not.
    """

    event: str
    hits: int
    misses: int


@dataclass(frozen=True)
class About:
    """What is known of a trace before its first entry.

    Attributes:
        release: The kernel's, as ``uname -r`` prints it.
        arch: Its architecture.
        definitions: The events as kprobe_events lists them.
        arguments: Of each event, by ``GROUP/NAME``, what it fetches.
        names: Names the addresses in its entries.
        cpus: How many CPUs the guest has.
    """

    release: str
    arch: str
    definitions: Sequence[str]
    arguments: Mapping[str, Sequence[ProbeArgument]]
    names: StackNames
    cpus: int = 1


class Export(ABC):
    """One file. Entries are written as they are added, or as few numbers are kept as can be."""

    binary = False
    """Whether the file is opened for bytes; else for text, in UTF-8."""
    needs: Mapping[str, str] = {}
    """The modules that write it, each with the extra that brings it."""
    stacks = False
    """Whether it shows nothing but call stacks."""

    @abstractmethod
    def __init__(self, file: IO[Any], about: About) -> None:
        """Begin to write."""

    @abstractmethod
    def add(self, entry: TraceEntry) -> None:
        """Write one more entry; raises ``OSError`` if the file cannot be written."""

    @abstractmethod
    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        """Write the end.

        Args:
            profile: What the probes counted.
            lost: How many entries there were that are not among those added.

        Raises:
            OSError: The file cannot be written.
        """

    def abandon(self) -> None:  # noqa: B027
        """Never write again: the file is thrown away."""


#: The file here that writes each kind, and its class.
_KINDS = {
    ".json": ("json_file", "JsonFile"),
    ".csv": ("csv_file", "CsvFile"),
    ".parquet": ("parquet_file", "ParquetFile"),
    ".perfetto-trace": ("perfetto_file", "PerfettoFile"),
    ".folded": ("folded_file", "FoldedFile"),
    ".svg": ("flame_graph", "FlameGraph"),
}


def _kind(path: Path) -> type[Export]:
    """Who writes such a file."""
    found = next((suffix for suffix in _KINDS if path.name.lower().endswith(suffix)), None)
    if found is None:
        raise UsageError(f"{path}: the end of its name says what is written: {', '.join(_KINDS)}")
    file, name = _KINDS[found]
    kind: type[Export] = getattr(import_module(f"{__package__}.{file}"), name)
    for module, extra in kind.needs.items():
        if find_spec(module) is None:
            raise UsageError(
                f"{path}: {module} writes such files; install it with: "
                f"pip install 'kprobesim[{extra}]'"
            )
    return kind


def check_export(path: str | os.PathLike[str]) -> None:
    """See that ``path`` can be written, before anything takes time.

    Raises:
        UsageError: It has a suffix that says nothing, its folder is not there, or the library that
            writes it is not installed.
    """
    path = Path(path)
    _kind(path)
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path}: name a file in a folder that exists")


def needs_stacks(path: str | os.PathLike[str]) -> bool:
    """Whether such a file shows nothing but call stacks."""
    return _kind(Path(path)).stacks


class OpenExport:
    """An export with its file, which is gone again if a ``with`` block ends before it is whole."""

    def __init__(self, path: Path, about: About) -> None:
        kind = _kind(path)
        self.path = path
        try:
            self._file: IO[Any] = (
                path.open("wb") if kind.binary else path.open("w", encoding="utf-8", newline="")
            )
        except OSError as error:
            raise UsageError(self._unwritable(error)) from None
        self._whole = False
        try:
            self._export = kind(self._file, about)
        except BaseException:
            self._throw_away()
            raise

    def add(self, entry: TraceEntry) -> None:
        """Write one more entry; raises :class:`UsageError` if the file cannot be written."""
        try:
            self._export.add(entry)
        except OSError as error:
            raise UsageError(self._unwritable(error)) from None

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        """Write the end, and close the file; raises :class:`UsageError` if that cannot be."""
        try:
            with self._file:
                self._export.finish(profile, lost)
            self._whole = True
        except OSError as error:
            raise UsageError(self._unwritable(error)) from None

    def __enter__(self) -> OpenExport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._whole:
            self._export.abandon()
            self._throw_away()

    def _throw_away(self) -> None:
        """Leave no file that nobody can read: JSON and Parquet need their ends."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            if stat.S_ISREG(self.path.lstat().st_mode):
                self.path.unlink()

    def _unwritable(self, error: OSError) -> str:
        return f"{self.path} cannot be written: {error.strerror}"


def open_export(path: str | os.PathLike[str], about: About) -> OpenExport:
    """Begin to write ``path``; an older file of that name is gone then.

    Raises:
        UsageError: As for :func:`check_export`, or the file cannot be made.
    """
    path = Path(path)
    check_export(path)
    return OpenExport(path, about)
