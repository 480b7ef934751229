"""The lines of what is written to a file of commands (``trace_parse_run_command()``)."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.grammar.c_text import as_bytes, as_text

__all__ = ["command_lines"]

_CHUNK = 4096  # WRITE_BUFSIZE: a line has two characters less


def command_lines(text: str) -> Iterator[str]:
    """Each line without its comment; those before one that is too long are given.

    Raises:
        ProbeEventError: A line is longer than the kernel takes (EINVAL).
    """
    data = as_bytes(text)
    done = 0
    while done < len(data):
        chunk = data[done : done + _CHUNK - 1]
        line, end, _ = chunk.partition("\n")
        if not end and done + len(chunk) < len(data):
            raise ProbeEventError(errno.EINVAL, as_text(line))
        done += len(line) + len(end)
        yield as_text(line.partition("#")[0])
