"""The kernel's own line about itself: ``Linux version 6.1.0-56-amd64 (...) ... #1 SMP ...``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kprobesim.image.segment import findable
from kprobesim.late_dataclasses import dataclass

__all__ = ["Banner", "find_banners"]

_START = b"Linux version "
# (Texts: to compile them takes a resumed kernel a millisecond for nothing.)
# Patterns are compiled when they are used: a resumed kernel looks for no banner.
_LINE = rb"Linux version \d[^\0\n]{1,1000}"
_VERSION = r"(\d+)\.(\d+)(?:\.(\d+))?"
#: Debian's releases end in .0-ABI; the version is in the build's own text: "Debian 6.1.192-2".
_DEBIAN = r" Debian (\d+)\.(\d+)\.(\d+)"
_FLAGS = r" #\d+[^ ]*((?: [A-Z][A-Z_]+)*)"


@dataclass(frozen=True, slots=True)
class Banner:
    """A banner line and what it tells; all empty for a guest that has none."""

    text: str = ""

    @property
    def release(self) -> str:
        """What ``uname -r`` would print."""
        words = self.text.split(" ", 3)
        return words[2] if len(words) > 2 else ""

    @property
    def version(self) -> tuple[int, ...]:
        """``(6, 1, 192)``, or ``(6, 1)`` when a distribution's release hides the last number."""
        full = re.search(_DEBIAN, self.text)
        if full:
            return tuple(map(int, full.groups()))
        match = re.match(_VERSION, self.release)
        if match is None:
            return ()
        numbers = tuple(int(number) for number in match.groups() if number is not None)
        if numbers[2:] == (0,) and self.release[match.end() :].startswith("-"):
            return numbers[:2]
        return numbers

    @property
    def flags(self) -> tuple[str, ...]:
        """The build's capital words after ``#1``: ``("SMP", "PREEMPT_DYNAMIC")``."""
        match = re.search(_FLAGS, self.text)
        return tuple(match[1].split()) if match else ()

    @property
    def preemptible(self) -> bool:
        """Whether the kernel was built so that kernel code can be preempted."""
        return any(flag.startswith("PREEMPT") for flag in self.flags)


def find_banners(chunks: Iterable[memoryview | bytes]) -> list[Banner]:
    """The different full banners in ``chunks`` of the image's bytes.

    6.3 and later hold a second copy without the build number (``# SMP``): taken only if alone.
    """
    full: dict[str, None] = {}
    spare: list[str] = []
    line = re.compile(_LINE).match
    for chunk in chunks:
        data = findable(chunk)
        at = data.find(_START)  # a regular expression takes ten times as long to find it
        while at >= 0:
            match = line(data, at)
            if match:
                text = match[0].decode("utf-8", "replace").rstrip()
                if "%s" not in text:
                    if re.search(r" #\d", text):
                        full[text] = None
                    else:
                        spare.append(text)
            at = data.find(_START, at + 1)
    return [Banner(text) for text in full or spare[:1]]
