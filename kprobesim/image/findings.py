"""What was found by searching through a whole image: who keeps an image keeps that, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kprobesim.snapshot.container import Container

__all__ = ["Findings", "Keeper"]

_T = TypeVar("_T")


def _nothing() -> Mapping[str, Any]:
    return {}


def _forget(_found: Mapping[str, Any]) -> None:
    """Keep nothing."""


class Keeper(Protocol):
    """Gives what an earlier run has kept under a name, or makes it and keeps it."""

    def __call__(
        self,
        name: str,
        read: Callable[[Container], _T],
        make: Callable[[], _T],
        pack: Callable[[_T], tuple[dict[str, Any], dict[str, bytes]]],
    ) -> _T:
        """See :meth:`Findings.kept`."""


class Findings:
    """Of one image: each thing is searched once, here or in an earlier run.

    Args:
        read: Gives what an earlier run has kept, by name.
        write: Is given everything whenever there is something more.
        keep: Keeps what is too large for that in files of its own; ``None``: nobody does.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any]] = _nothing,
        write: Callable[[Mapping[str, Any]], None] = _forget,
        keep: Keeper | None = None,
    ) -> None:
        self._read = read
        self._write = write
        self._keep = keep

    def kept(
        self,
        name: str,
        read: Callable[[Container], _T],
        search: Callable[[], _T],
        pack: Callable[[_T], tuple[dict[str, Any], dict[str, bytes]]],
    ) -> _T:
        """What an earlier run has kept in a file of its own, or what ``search`` finds now.

        Args:
            name: Of the file.
            read: Makes it of the file; raises SnapshotError if that is damaged, or of other code.
            search: Searches.
            pack: Gives the facts and sections that are kept of it.
        """
        return search() if self._keep is None else self._keep(name, read, search, pack)

    @cached_property
    def _found(self) -> dict[str, Any]:
        return dict(self._read())

    def once(self, name: str, search: Callable[[], Any], *, code: str = "") -> Any:
        """What ``search`` has found, or finds now: plain data, as JSON has it.

        Args:
            name: Of what is found.
            search: Searches.
            code: The file of the code that searches, if it does not belong to this room: what
                another version of it has found is not taken.
        """
        if code:
            status = Path(code).stat()
            name = f"{name} {status.st_size} {status.st_mtime_ns}"
        if name not in self._found:
            self._found[name] = search()
            self._write(dict(self._found))
        return self._found[name]
