"""``Tracefs``: a kernel's tracing as the files that shell scripts know, read and written by path.

>>> k.tracefs["kprobe_events"].append("p:opened do_sys_openat2 name=+0($arg2):ustring")
>>> k.tracefs["events/kprobes/opened/enable"].write("1")
>>> print(k.tracefs["trace"].read())
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from kprobesim.errors import KprobeError, UsageError
from kprobesim.trace.files.node import File, Folder, Node, OpenFile
from kprobesim.trace.files.refusal import refusal

__all__ = ["Tracefs", "TracefsFile"]

_CHUNK = 1 << 20

Turns = Callable[[], AbstractContextManager[None]]
"""Makes sure that nobody else uses the kernel meanwhile."""


class Mounted(AbstractContextManager["Mounted"], Protocol):
    """A directory that shows tracefs, by default until a ``with`` ends."""

    path: Path

    @property
    def mounted(self) -> bool:
        """Whether it does so still."""

    def command(self, *words: str) -> list[str]:
        """What runs a tool so that it finds the directory where it looks for tracefs."""

    def unmount(self) -> None:
        """It does so no longer; raises :class:`UsageError` if somebody has a file open."""


Mounts = Callable[["Tracefs", "str | os.PathLike[str]", bool], Mounted]
"""Shows tracefs in a directory of this computer."""


class Tracefs:
    """The files, from the top or from a folder on.

    Iterating gives the names in the folder, ``in`` tells whether a path is there.

    Args:
        root: The folder.
        turns: Makes sure that nobody else uses the kernel while a file does something.
        mounts: Mounts it on a directory, for other users, too, or not.
        path: Where the folder is in tracefs; empty at the top.
    """

    def __init__(self, root: Folder, turns: Turns, mounts: Mounts, path: str = "") -> None:
        self.root = root
        self.path = path
        self._turns = turns
        self._mounts = mounts

    def __repr__(self) -> str:
        return f"<Tracefs {self.path or '/'}: {', '.join(self.listdir())}>"

    def __getitem__(self, path: str) -> TracefsFile:
        """The file at ``path``.

        Raises:
            OSError: There is none (ENOENT), or it is a folder (EISDIR); see :meth:`folder`.
        """
        with self.whole(path):
            if isinstance(self.node(path), Folder):
                raise refusal(errno.EISDIR)
        return TracefsFile(self, path)

    def folder(self, path: str) -> Tracefs:
        """The folder at ``path``; raises ``OSError`` (ENOENT, ENOTDIR) if it is none."""
        with self.whole(path):
            node = self.node(path)
            if not isinstance(node, Folder):
                raise refusal(errno.ENOTDIR)
        whole = "/".join(filter(None, (self.path, *_parts(path))))
        return Tracefs(node, self._turns, self._mounts, whole)

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        with self._turns():
            try:
                self.node(path)
            except OSError:
                return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.listdir())

    def listdir(self, path: str = "") -> list[str]:
        """The names in the folder at ``path``; raises ``OSError`` (ENOENT, ENOTDIR)."""
        with self.whole(path):
            node = self.node(path)
            if not isinstance(node, Folder):
                raise refusal(errno.ENOTDIR)
            return list(node.names())

    def mkdir(self, path: str) -> None:
        """Make a folder, as in ``instances``; raises ``OSError`` where that is refused."""
        folder, _, name = path.rstrip("/").rpartition("/")
        with self.whole(path):
            self._parent(folder).make(name)

    def rmdir(self, path: str) -> None:
        """Remove a folder; raises ``OSError`` where that is refused."""
        folder, _, name = path.rstrip("/").rpartition("/")
        with self.whole(path):
            self._parent(folder).remove(name)

    def open(self, path: str, flags: int = os.O_RDONLY) -> OpenFile:
        """Open a file as ``open(2)`` does.

        Args:
            path: Of the file.
            flags: ``os.O_RDONLY``, ``O_WRONLY`` or ``O_RDWR``, with ``O_TRUNC`` or ``O_APPEND``,
                and ``O_NONBLOCK``.

        Raises:
            OSError: There is no such file (ENOENT; with ``O_CREAT`` EACCES), it is a folder
                (EISDIR), or it refuses to be emptied.
        """
        with self.whole(path):
            try:
                node = self.node(path)
            except OSError as error:
                if flags & os.O_CREAT and error.errno == errno.ENOENT:
                    raise refusal(errno.EACCES) from None
                raise
            if not isinstance(node, File):
                raise refusal(errno.EISDIR)
            return node.open(flags)

    def mount(self, path: str | os.PathLike[str], *, allow_other: bool = False) -> Mounted:
        """Show the files in a directory of this computer, until ``unmount()`` or a ``with`` ends.

        Requests wait while the guest runs for as long as a slice of that takes, some milliseconds.

        Args:
            path: An empty directory.
            allow_other: Let other users see it, too.

        Raises:
            UsageError: There is no FUSE here (``pip install 'kprobesim[fuse]'``, libfuse, a
                ``/dev/fuse`` that may be opened), or ``path`` cannot be mounted on.
        """
        return self._mounts(self, path, allow_other)

    # -- for the files, and for FUSE ---------------------------------------------------------------

    def node(self, path: str) -> Node:
        """What is at ``path``; raises ``OSError`` (ENOENT, ENOTDIR)."""
        if not isinstance(path, str):
            raise UsageError(f"path is of type {type(path).__name__}: name a file of tracefs")
        node: Node = self.root
        for part in _parts(path):
            if not isinstance(node, Folder):
                raise refusal(errno.ENOTDIR)
            found = node.find(part)
            if found is None:
                raise refusal(errno.ENOENT)
            node = found
        return node

    def _parent(self, path: str) -> Folder:
        node = self.node(path)
        if not isinstance(node, Folder):
            raise refusal(errno.ENOTDIR)
        return node

    @contextmanager
    def whole(self, path: str) -> Iterator[None]:
        """While something is done to the file at ``path`` nobody else uses the kernel.

        What is refused becomes an ``OSError`` that names the file.
        """
        with self._turns():
            try:
                yield
            except KprobeError as error:
                told = refusal(error.errno or errno.EINVAL, str(error))
                told.filename = path
                raise told from error
            except OSError as error:
                if error.filename is None:
                    error.filename = path
                raise


class TracefsFile:
    """One file, by its path: it is looked up anew each time."""

    def __init__(self, tracefs: Tracefs, path: str) -> None:
        self._tracefs = tracefs
        self.path = path

    def __repr__(self) -> str:
        return f"<TracefsFile {self.path}>"

    def __iter__(self) -> Iterator[str]:
        """Its lines, without their ends."""
        return iter(self.read().splitlines())

    def read(self) -> str:
        """Its text, as ``cat`` shows it; raises ``OSError`` (EINVAL) if it cannot be read.

        ``trace_pipe`` gives what is there, which may be nothing, and waits for no more.
        """
        return self.read_bytes().decode("utf-8", "surrogateescape")

    def read_bytes(self) -> bytes:
        """As :meth:`read`, for files that are no text."""
        file = self._tracefs.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        parts: list[bytes] = []
        with self._tracefs.whole(self.path):
            while part := self._next(file, sum(map(len, parts))):
                parts.append(part)
            file.close()
        return b"".join(parts)

    @staticmethod
    def _next(file: OpenFile, offset: int) -> bytes:
        try:
            return file.read(_CHUNK, offset)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return b""

    def write(self, text: str | bytes) -> int:
        """Write as ``>`` does, which empties the file first; gives how many bytes were taken.

        Raises:
            OSError: The kernel would refuse it, with the errno that it would give.
        """
        return self._write(text, os.O_TRUNC)

    def append(self, text: str | bytes) -> int:
        """Write as ``>>`` does; otherwise as :meth:`write`."""
        return self._write(text, os.O_APPEND)

    def _write(self, text: str | bytes, flags: int) -> int:
        if not isinstance(text, (str, bytes)):
            raise UsageError(f"text is of type {type(text).__name__}: give a str, or bytes")
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        file = self._tracefs.open(self.path, os.O_WRONLY | flags)
        taken = 0
        with self._tracefs.whole(self.path):
            while taken < len(data):
                step = file.write(data[taken:])
                if step <= 0:
                    break
                taken += step
            file.close()
        return taken


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
