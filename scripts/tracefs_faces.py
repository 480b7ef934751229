"""Two faces of tracing in one boot: tracefs of ours, and the guest's own, by the guest's shell.

What is done to one is done to the other, and each step's outcome is compared. Work for the guest is
done once, for both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

from guests import SECONDS

from kprobesim import BootedKernel
from kprobesim.asking.shell import Shell

EVENTS, ALL, TRACE = "kprobe_events", "events/kprobes/enable", "trace"
_GUESTS = "/sys/kernel/tracing/"
_DEBUGFS = "/sys/kernel/debug/"
_STAMPS = re.compile(r" *\d+\.\d{6}(?=[:\]])")
_MOST = 3500  # bytes of a line for the guest's shell


@dataclass(frozen=True)
class Run:
    """A line of shell that the guest is to do."""

    line: str


FORKED = Run("(echo forked) > /dev/null")


class Face(Protocol):
    """What can be done to tracefs; an outcome is text: what was read, or why it failed."""

    def write(self, path: str, text: str) -> str:
        """As ``>``."""

    def append(self, path: str, *texts: str) -> str:
        """As ``>>``, once for each text; the outcomes, a line each."""

    def read(self, path: str) -> str:
        """The text, without times; or why there is none."""

    def exists(self, path: str) -> bool:
        """Whether it is there."""


class Ours:
    """``k.tracefs``."""

    def __init__(self, kernel: BootedKernel) -> None:
        self._files = kernel.tracefs

    def write(self, path: str, text: str) -> str:
        return self._tried(lambda: self._files[path].write(text))

    def append(self, path: str, *texts: str) -> str:
        return "\n".join(self._tried(lambda t=t: self._files[path].append(t)) for t in texts)  # type: ignore[misc]

    def read(self, path: str) -> str:
        try:
            return _plain(self._files[path].read())
        except OSError as error:
            return os.strerror(error.errno or 0)

    def exists(self, path: str) -> bool:
        return path in self._files

    @staticmethod
    def _tried(action: Callable[[], object]) -> str:
        try:
            action()
        except OSError as error:
            return os.strerror(error.errno or 0)
        return ""


class Guests:
    """The guest's own."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def write(self, path: str, text: str) -> str:
        return self._write(path, ">", (text,))

    def append(self, path: str, *texts: str) -> str:
        return self._write(path, ">>", texts)

    def _write(self, path: str, how: str, texts: Sequence[str]) -> str:
        said = []
        for some in _portions(texts):
            words = " ".join(_quoted(text) for text in some)
            _, out = self._shell.run(
                f"for t in {words}; do echo -ne \"$t\" {how} {_place(path)}; echo '|'; done",
                SECONDS,
            )
            said += out.replace("\r", "").split("|\n")[: len(some)]
        return "\n".join(map(_reason, said))

    def read(self, path: str) -> str:
        status, out = self._shell.run(f"cat {_place(path)}", SECONDS)
        return _reason(out) if status else _plain(out.replace("\r", ""))

    def exists(self, path: str) -> bool:
        return self._shell.run(f"[ -e {_place(path)} ]", SECONDS)[0] == 0


def lines_with(trace: str, word: str) -> list[str]:
    """The lines with ``word``."""
    return [line for line in trace.splitlines() if word in line]


def compare(
    steps: Callable[[Face], Iterator[object]], ours: Face, guests: Face, shell: Shell
) -> list[tuple[object, object]]:
    """Do the steps of a case to both; the outcomes that differ, ours first."""
    different = []
    for one, other in zip_longest(steps(ours), steps(guests)):
        if isinstance(one, Run):
            shell.run(one.line, SECONDS)
        elif one != other:
            different.append((one, other))
    return different


def _place(path: str) -> str:
    return (_DEBUGFS if path.startswith("kprobes/") else _GUESTS) + path


def _quoted(text: str) -> str:
    r"""``text`` for the shell, whose ``echo -e`` makes an end of line of ``\n``."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return "'" + text.replace("'", "'\\''") + "'"


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    """As many at a time as fit into a line."""
    some: list[str] = []
    for text in texts:
        if some and sum(map(len, some)) + 4 * len(some) + 2 * len(text) > _MOST:
            yield some
            some = []
        some.append(text)
    yield some


def _reason(said: str) -> str:
    """Why a write failed, of what BusyBox says; empty if it did not."""
    reason = said.strip().rpartition(": ")[2]
    return "No such file or directory" if reason == "nonexistent directory" else reason


def _plain(text: str) -> str:
    """``text`` without what differs from one face to the other: times, and numbers of events."""
    return re.sub(r"^ID: \d+$", "ID: N", _STAMPS.sub("T", text), flags=re.MULTILINE)
