"""``current_tracer``, ``set_ftrace_filter`` and what else says what tracers trace (ftrace.c, 6.12).

What is written to a filter's file counts when it is closed, all at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from kprobesim.trace.files.node import File, OpenFile, ReadOnly, Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.pids import PidsFile
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.tracers.function_filter import Chosen, FunctionFilter
from kprobesim.trace.tracers.tracers import NOP, Tracers

__all__ = ["tracer_files"]

_ALL, _NONE = "#### all functions enabled ####", "#### no functions disabled ####"
_NO_PID = "no pid\n"
_MOST = (1 << 32) - 1
_LONGEST = 100  # of a tracer's name: MAX_TRACER_SIZE


class FilterFile(File):
    """A file of functions.

    Args:
        functions: What it chooses.
        none: What it says where none is chosen.
        commands: Whether a word may have a command: ``ext4_*:mod:ext4``.
    """

    mode = 0o640

    def __init__(self, functions: FunctionFilter, none: str, *, commands: bool = True) -> None:
        self.functions = functions
        self.commands = commands
        self._none = none

    def chunks(self) -> Iterator[str]:
        """See :meth:`File.chunks`."""
        return iter((self.functions.text(self._none),))

    def open(self, flags: int) -> OpenFile:
        """See :meth:`File.open`."""
        return _OpenFilter(self, flags)


class _OpenFilter(OpenFile):
    """Collects words until it is closed; a word may come in parts."""

    def __init__(self, file: FilterFile, flags: int) -> None:
        super().__init__(file, flags)
        self._functions, self._commands = file.functions, file.commands
        self._writes = flags & os.O_ACCMODE != os.O_RDONLY
        self._chosen = Chosen() if flags & os.O_TRUNC else file.functions.chosen
        self._part = ""
        self._written = False

    def write(self, data: bytes) -> int:
        """See :meth:`OpenFile.write`."""
        text = self._part + data.decode("utf-8", "surrogateescape")
        words = text.split()
        self._part = words.pop() if words and not text[-1:].isspace() else ""
        self._written = True
        for word in words:
            self._add(word)
        return len(data)

    def flush(self) -> None:
        """See :meth:`OpenFile.flush`; raises ``OSError`` where a last word means nothing."""
        if self._written:
            self._commit()

    def close(self) -> None:
        """See :meth:`OpenFile.close`; what was opened to be emptied is."""
        super().close()
        if self._writes:
            self._commit()

    def _add(self, word: str) -> None:
        if ":" in word and not self._commands:
            raise refusal(errno.EINVAL, f"{word!r} is no function")
        self._chosen = self._functions.understand(self._chosen, word)

    def _commit(self) -> None:
        part, self._part, self._written = self._part, "", False
        if part:
            self._add(part)
        self._functions.set(self._chosen)


def tracer_files(tracers: Tracers, expand: Callable[[], object]) -> dict[str, File]:
    """The files, by name.

    Args:
        tracers: The kernel's.
        expand: Is called first: the buffers get their size.
    """

    def change(text: str) -> None:
        expand()
        tracers.choose(text[:_LONGEST].strip())

    def only(chosen: frozenset[int] | None) -> None:
        tracers.pids.only = chosen
        tracers.follow_pids()

    def never(chosen: frozenset[int] | None) -> None:
        tracers.pids.never = chosen
        tracers.follow_pids()

    listed = tracers.listed
    files: dict[str, File] = {
        "available_filter_functions": ReadOnly(listed.text),
        "available_tracers": ReadOnly(lambda: " ".join(tracers.available) + "\n"),
        "current_tracer": Setting(lambda: f"{tracers.current}\n", change),
    }
    if tracers.available == (NOP,):
        return files
    calls = tracers.going_on

    def deepest(text: str) -> None:
        calls.deepest = number_of(text, most=_MOST)

    def threshold(text: str) -> None:
        calls.threshold = number_of(text) * 1000

    return {
        **files,
        "max_graph_depth": Setting(lambda: f"{calls.deepest}\n", deepest),
        "set_graph_function": FilterFile(tracers.roots, _ALL, commands=False),
        "set_graph_notrace": FilterFile(tracers.hidden, _NONE, commands=False),
        "tracing_thresh": Setting(lambda: f"{calls.threshold // 1000}\n", threshold),
        "set_ftrace_filter": FilterFile(tracers.only, _ALL),
        "set_ftrace_notrace": FilterFile(tracers.never, _NONE),
        "set_ftrace_notrace_pid": PidsFile(lambda: tracers.pids.never, never, _NO_PID),
        "set_ftrace_pid": PidsFile(lambda: tracers.pids.only, only, _NO_PID),
    }
