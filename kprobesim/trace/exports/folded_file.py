"""Folded stacks: a line for each stack that was seen, and how often; flame graphs are made of it.

``task;outermost;...;innermost COUNT``, as the collapsing scripts of flame graphs write it; inlined
functions end in ``_[i]`` there, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import IO, Any

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, Export, ProfileRow
from kprobesim.trace.frames import StackNames

__all__ = ["INLINED", "FoldedFile", "StackCounts"]

INLINED = "_[i]"
"""What the name of an inlined function ends in."""
_BREAKS = re.compile(r"[;\x00-\x1f\x7f-\x9f]")


class StackCounts:
    """How often each stack was seen."""

    def __init__(self, names: StackNames) -> None:
        """``names`` names the functions."""
        self._names = names
        self._counts: Counter[tuple[str, int, int | None, tuple[int, ...]]] = Counter()

    def add(self, entry: TraceEntry) -> None:
        """One more of the stack of ``entry``."""
        self._counts[entry.comm, entry.ip, entry.func, entry.stack or ()] += 1

    def by_name(self) -> dict[tuple[str, ...], int]:
        """The counts by task and functions, the outermost first; in the order of the names."""
        counts: Counter[tuple[str, ...]] = Counter()
        for (comm, ip, func, stack), count in self._counts.items():
            frames = self._names.stack(ip, func, stack)
            functions = [f.function + INLINED * f.inlined for f in reversed(frames)]
            counts[tuple(_BREAKS.sub("?", name) for name in (comm, *functions))] += count
        return dict(sorted(counts.items()))


class FoldedFile(Export):
    """The lines, in the order of the names."""

    stacks = True

    def __init__(self, file: IO[Any], about: About) -> None:
        self._file, self._counts = file, StackCounts(about.names)

    def add(self, entry: TraceEntry) -> None:
        self._counts.add(entry)

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        for stack, count in self._counts.by_name().items():
            self._file.write(f"{';'.join(stack)} {count}\n")
