"""What tracefs is made of: folders that find, files that are opened, read and written.

Reading and writing are what fs/seq_file.c and the files' own functions in kernel/trace do (6.12):
an open file has its text once, from its beginning on; a write is one command, or several.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from kprobesim.trace.files.refusal import refusal

__all__ = ["File", "Folder", "Node", "OpenFile", "ReadOnly", "Setting", "Table"]


class Node:
    """A file or a folder.

    Attributes:
        mode: Its permissions, as ``chmod`` takes them.
    """

    mode = 0o440


class Folder(Node):
    """Has nodes by name, which come and go."""

    mode = 0o750

    def names(self) -> Iterable[str]:
        """The names of its nodes, in the order in which the kernel has made them."""
        raise NotImplementedError

    def find(self, name: str) -> Node | None:
        """The node of that name; ``None`` if there is none."""
        raise NotImplementedError

    def make(self, name: str) -> None:
        """Make a folder in it; raises ``OSError`` (EPERM) where that makes no sense."""
        raise refusal(errno.EPERM)

    def remove(self, name: str) -> None:
        """Remove a folder from it; raises ``OSError`` (EPERM) where that makes no sense."""
        raise refusal(errno.EPERM)


class Table(Folder):
    """A folder whose nodes are always the same."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

    def names(self) -> Iterable[str]:
        """See :meth:`Folder.names`."""
        return self._nodes

    def find(self, name: str) -> Node | None:
        """See :meth:`Folder.find`."""
        return self._nodes.get(name)


class File(Node):
    """One file: what it says, and what it does with what is written."""

    def chunks(self) -> Iterator[str]:
        """Its text now, in pieces; raises ``OSError`` (EINVAL) if it cannot be read."""
        raise refusal(errno.EINVAL)

    def truncate(self) -> None:
        """It is opened as ``>`` does, which is more than to write for some."""

    def store(self, data: bytes) -> int:
        """What one ``write()`` does; returns how many bytes were taken.

        Raises:
            OSError: It is refused, with the kernel's errno.
        """
        raise refusal(errno.EINVAL)

    def open(self, flags: int) -> OpenFile:
        """Open it as ``open(2)`` does, ``flags`` being its."""
        return OpenFile(self, flags)


class OpenFile:
    """A file that somebody has opened.

    Args:
        file: The file.
        flags: Those of ``open(2)``.

    Raises:
        OSError: ``O_TRUNC`` is refused.
    """

    def __init__(self, file: File, flags: int) -> None:
        self.file = file
        self.flags = flags
        self._chunks: Iterator[str] | None = None
        self._have = b""
        self._start = 0  # of what is at hand, in the text
        if flags & os.O_TRUNC and flags & os.O_ACCMODE != os.O_RDONLY:
            file.truncate()

    def read(self, size: int, offset: int) -> bytes:
        """At most ``size`` bytes from ``offset`` on; fewer only where the text ends.

        Reading from the start anew gives the text that is now.
        """
        if self._chunks is None or offset < self._start:
            self._chunks, self._have, self._start = self.file.chunks(), b"", 0
        parts, end = [self._have], self._start + len(self._have)
        while end < offset + size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk.encode("utf-8", "surrogateescape"))
            end += len(parts[-1])
        have = b"".join(parts)
        have = have[min(offset - self._start, len(have)) :]
        self._have, self._start = have, min(offset, end)
        return have[:size]

    def write(self, data: bytes) -> int:
        """See :meth:`File.store`."""
        return self.file.store(data)

    def flush(self) -> None:
        """Who has written is done, and waits for what comes of it."""

    def close(self) -> None:
        """Nobody reads or writes any more."""
        self._chunks, self._have = None, b""


class ReadOnly(File):
    """A file whose text is what a function gives."""

    def __init__(self, text: Callable[[], str | Iterator[str]]) -> None:
        self._text = text

    def chunks(self) -> Iterator[str]:
        """See :meth:`File.chunks`."""
        text = self._text()
        return iter((text,)) if isinstance(text, str) else text


class Setting(ReadOnly):
    """A file that shows something, and changes it when it is written.

    Args:
        text: Gives what it shows.
        change: Is given what is written; raises ``OSError`` to refuse it.
    """

    mode = 0o640

    def __init__(
        self, text: Callable[[], str | Iterator[str]], change: Callable[[str], object]
    ) -> None:
        super().__init__(text)
        self._change = change

    def store(self, data: bytes) -> int:
        """See :meth:`File.store`."""
        self._change(data.decode("utf-8", "surrogateescape"))
        return len(data)
