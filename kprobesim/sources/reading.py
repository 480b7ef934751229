"""A source while it is read: what was found so far, with a bound on everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kprobesim.bpf.object import BpfObject
from kprobesim.sources.text import printable
from kprobesim.sources.wanted import Interface, Problem, Source, SourceKind, Wanted, WantedArgument

__all__ = ["MAX_PROBLEMS", "MAX_WANTED", "Reading", "shown"]

#: More probes than any kernel has functions.
MAX_WANTED = 200_000

#: A file of the wrong kind has a problem on each line; more than these help nobody.
MAX_PROBLEMS = 100

_MOST_ALTERNATIVES = 64
_SHOWN = 60  # characters of a bad text


class Reading:
    """Collects probes, problems and notes; readers call its methods, and ``source()`` ends it."""

    def __init__(self, path: Path, kind: SourceKind) -> None:
        self.path = path
        self.kind = kind
        self._source = printable(str(path))
        self.wanted: list[Wanted] = []
        self._problems: list[Problem] = []
        self._notes: list[Problem] = []
        self._told: set[tuple[int | None, str]] = set()
        self._left_out = 0
        self._too_many = False

    def want(
        self, text: str, line: int | None, interface: Interface, target: str, **more: Any
    ) -> None:
        """One probe; ``more`` are other attributes of ``Wanted``."""
        if len(self.wanted) < MAX_WANTED:
            for name in ("module", "program", "source_place", "file"):
                if more.get(name):
                    more[name] = printable(more[name])
            if more.get("arguments"):
                more["arguments"] = tuple(map(_printable, more["arguments"]))
            self.wanted.append(
                Wanted(printable(text), self._source, line, interface, printable(target), **more)
            )
        elif not self._too_many:
            self._too_many = True
            self.problem(line, f"there are more than {MAX_WANTED:,} probes: the rest is left out")

    def problem(self, line: int | None, text: str, column: int | None = None) -> None:
        """What could not be read, and what to do; the same of one line is told once."""
        if (line, text) in self._told:
            return
        if len(self._problems) < MAX_PROBLEMS:
            self._told.add((line, text))
            self._problems.append(Problem(line, printable(text), column))
        else:
            self._left_out += 1

    def note(self, line: int | None, text: str) -> None:
        """What was passed over on purpose."""
        if len(self._notes) < MAX_PROBLEMS:
            self._notes.append(Problem(line, printable(text)))

    def source(self, compiled: BpfObject | None = None) -> Source:
        """All that was found; ``compiled`` is the object of an object file."""
        problems = list(self._problems)
        if self._left_out:
            problems.append(Problem(None, f"and {self._left_out:,} more lines cannot be read"))
        by_line = sorted(problems, key=lambda one: one.line or 1 << 62)
        return Source(
            self.path,
            self.kind,
            tuple(self.wanted),
            tuple(by_line),
            tuple(self._notes),
            compiled,
        )

    def alternatives(self, numbers: Sequence[int]) -> None:
        """Tell the probes of these numbers (in ``wanted``) that each may stand for the others."""
        block = [number for number in numbers if number < len(self.wanted)]
        if not 1 < len(block) <= _MOST_ALTERNATIVES:
            return
        names = dict.fromkeys(self.wanted[number].target for number in block)
        for number in block:
            one = self.wanted[number]
            others = tuple(name for name in names if name != one.target)
            self.wanted[number] = dataclasses.replace(one, alternatives=others)


def _printable(one: WantedArgument) -> WantedArgument:
    return one if one.text.isprintable() else dataclasses.replace(one, text=printable(one.text))


def shown(text: str) -> str:
    """A bad text as it may stand in a message: quoted, and not longer than a line."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
