"""``#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 10, 11)``: the kernels that C text is for."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass

__all__ = ["Versions", "VersionsByPlace"]

_Version = tuple[int, int, int]
_FIRST, _LAST = (0, 0, 0), (1 << 30, 0, 0)
_DIRECTIVE = re.compile(
    r"^[ \t]*#[ \t]*(?P<word>if|ifdef|ifndef|elif|else|endif)\b(?P<rest>[^\n]*)", re.MULTILINE
)
_COMPARED = re.compile(
    r"\s*\(?\s*LINUX_VERSION_CODE\s*(?P<sign>[<>]=?)\s*"
    r"KERNEL_VERSION\s*\(\s*(\d{1,4})\s*,\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\)\s*\)?\s*(?://.*|/\*.*)?"
)


@dataclass(frozen=True)
class Versions:
    """Kernels from ``since`` on, up to the one before ``below``."""

    since: _Version = _FIRST
    below: _Version = _LAST

    def __contains__(self, version: object) -> bool:
        assert isinstance(version, tuple)
        return self.since <= version < self.below

    def __str__(self) -> str:
        parts = []
        if self.since > _FIRST:
            parts.append(f"since {_shown(self.since)}")
        if self.below < _LAST:
            parts.append(f"before {_shown(self.below)}")
        return " and ".join(parts) or "all"

    def both(self, other: Versions) -> Versions:
        """Those that are in both."""
        return Versions(max(self.since, other.since), min(self.below, other.below))


_ALL = Versions()


class VersionsByPlace:
    """The kernels for which each place of a text is compiled; other conditions count as met."""

    def __init__(self, text: str) -> None:
        self._starts, self._versions = [0], [_ALL]
        around = [_ALL]  # what holds outside of each #if that is open
        own = [_ALL]  # what the branch adds that a place is in
        left = [_ALL]  # what holds in the branches behind it
        for found in _DIRECTIVE.finditer(text):
            word = found["word"]
            if word in ("if", "ifdef", "ifndef"):
                yes, no = _compared(found["rest"]) if word == "if" else (_ALL, _ALL)
                around.append(around[-1].both(own[-1]))
                own.append(yes)
                left.append(no)
            elif len(own) > 1 and word in ("else", "elif"):
                yes, no = _compared(found["rest"]) if word == "elif" else (_ALL, _ALL)
                own[-1], left[-1] = left[-1].both(yes), left[-1].both(no)
            elif len(own) > 1:
                around.pop()
                own.pop()
                left.pop()
            self._starts.append(found.end())
            self._versions.append(around[-1].both(own[-1]))

    def at(self, place: int) -> Versions | None:
        """Those of a place; ``None`` if it is for all."""
        found = self._versions[bisect.bisect_right(self._starts, place) - 1]
        return None if found == _ALL else found


def _compared(rest: str) -> tuple[Versions, Versions]:
    """The kernels that meet a condition, and the others; all for a condition of another kind."""
    found = _COMPARED.fullmatch(rest)
    if found is None:
        return _ALL, _ALL
    major, minor, patch = (int(one) for one in found.groups()[1:])
    bound = (major, minor, patch)
    if found["sign"] in (">", "<="):
        bound = (major, minor, patch + 1)
    low, high = Versions(below=bound), Versions(since=bound)
    return (low, high) if found["sign"].startswith("<") else (high, low)


def _shown(version: _Version) -> str:
    major, minor, patch = version
    return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"
