"""What can become of a probe on a kernel: the classes of findings, from the best to the worst."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Kind", "Level"]


class Level(enum.IntEnum):
    """How bad a finding is."""

    FINE = 0
    """It attaches and hits."""
    NOTE = 1
    """It does not attach, or not yet, and its author allowed for that."""
    SILENT = 2
    """It attaches, and misses calls or reads what it does not mean: no error tells."""
    ERROR = 3
    """It does not attach."""


@dataclass(frozen=True)
class _Look:
    """What of a class is said to people: ``style`` is a colour of the terminal."""

    level: Level
    glyph: str
    style: str
    legend: str


class Kind(str, enum.Enum):
    """The class of a finding. The value is stable: ``--allow`` and the reports have it.

    In order: of several findings on one probe the last in this list is the one that is shown.
    """

    FTRACE = "ftrace"
    JUMP = "jump"
    BREAKPOINT = "breakpoint"
    ATTACHED = "attached"
    OPTIONAL = "optional"
    WAITS = "waits"
    TAIL_CALLED = "tail-called"
    SIGNATURE = "signature"
    ARGUMENT = "argument-moved"
    DUPLICATE = "duplicate"
    PARTLY_INLINED = "partly-inlined"
    SPLIT = "split"
    NEVER = "never-called"
    UNKNOWN = "unknown"
    NOT_OVERRIDABLE = "not-overridable"
    CONFIG = "config"
    EXTERN = "extern"
    TYPE = "type"
    NO_BTF = "no-btf"
    UNSUPPORTED = "unsupported"
    AMBIGUOUS = "ambiguous"
    NOT_TRACEABLE = "not-traceable"
    BLACKLISTED = "blacklisted"
    BOUNDARY = "boundary"
    REFUSED = "refused"
    MODULE = "in-module"
    SUFFIX = "suffix"
    INLINED = "inlined"
    RENAMED = "renamed"
    ABSENT = "absent"
    DIFFERS = "differs"
    PROBLEM = "problem"

    def __str__(self) -> str:
        return self.value

    @property
    def severity(self) -> int:
        """Its place in the list: the higher, the worse."""
        return _ORDER[self]

    @property
    def level(self) -> Level:
        """Whether it is well, silently wrong, or an error."""
        return _LOOKS[self].level

    @property
    def glyph(self) -> str:
        """One character for a cell of a table."""
        return _LOOKS[self].glyph

    @property
    def style(self) -> str:
        """Its colour on a terminal."""
        return _LOOKS[self].style

    @property
    def legend(self) -> str:
        """What the glyph means, in a few words."""
        return _LOOKS[self].legend


_FINE, _NOTE, _SILENT, _ERROR = "green", "cyan", "yellow", "bold red"
_LOOKS = {
    Kind.FTRACE: _Look(Level.FINE, "f", _FINE, "attaches, by ftrace"),
    Kind.JUMP: _Look(Level.FINE, "j", _FINE, "attaches, optimised into a jump"),
    Kind.BREAKPOINT: _Look(Level.FINE, "b", _FINE, "attaches, by a breakpoint"),
    Kind.ATTACHED: _Look(Level.FINE, "+", _FINE, "attaches"),
    Kind.OPTIONAL: _Look(Level.NOTE, "o", _NOTE, "does not attach, and is optional"),
    Kind.WAITS: _Look(Level.NOTE, "w", _NOTE, "waits for its module"),
    Kind.TAIL_CALLED: _Look(Level.NOTE, "t", _NOTE, "only jumped to: it has no call of its own"),
    Kind.SIGNATURE: _Look(Level.NOTE, "s", _NOTE, "its arguments are not all where C has them"),
    Kind.ARGUMENT: _Look(Level.SILENT, "A", _SILENT, "an argument is not where you think"),
    Kind.DUPLICATE: _Look(Level.SILENT, "D", _SILENT, "one of several functions of that name"),
    Kind.PARTLY_INLINED: _Look(Level.SILENT, "P", _SILENT, "misses the calls that were inlined"),
    Kind.SPLIT: _Look(Level.SILENT, "S", _SILENT, "misses calls of its clones or its successor"),
    Kind.NEVER: _Look(Level.SILENT, "0", _SILENT, "attaches, and nothing ever calls it"),
    Kind.UNKNOWN: _Look(Level.SILENT, "?", _SILENT, "this kernel does not tell"),
    Kind.NOT_OVERRIDABLE: _Look(Level.ERROR, "V", _ERROR, "its return value may not be changed"),
    Kind.CONFIG: _Look(Level.ERROR, "C", _ERROR, "the kernel was built without it"),
    Kind.EXTERN: _Look(Level.ERROR, "E", _ERROR, "a symbol that the object links is not there"),
    Kind.TYPE: _Look(Level.ERROR, "T", _ERROR, "a type or field is not there"),
    Kind.NO_BTF: _Look(Level.ERROR, "B", _ERROR, "not in the kernel's BTF"),
    Kind.UNSUPPORTED: _Look(Level.ERROR, "U", _ERROR, "this kernel cannot attach that way"),
    Kind.AMBIGUOUS: _Look(Level.ERROR, "M", _ERROR, "refused: several have that name"),
    Kind.NOT_TRACEABLE: _Look(Level.ERROR, "N", _ERROR, "refused: ftrace cannot trace it"),
    Kind.BLACKLISTED: _Look(Level.ERROR, "K", _ERROR, "refused: blacklisted"),
    Kind.BOUNDARY: _Look(Level.ERROR, "O", _ERROR, "refused: not where an instruction begins"),
    Kind.REFUSED: _Look(Level.ERROR, "R", _ERROR, "refused by another rule"),
    Kind.MODULE: _Look(Level.ERROR, "L", _ERROR, "in a module: load it, and name it"),
    Kind.SUFFIX: _Look(Level.ERROR, "X", _ERROR, "only with a compiler's suffix"),
    Kind.INLINED: _Look(Level.ERROR, "I", _ERROR, "inlined wherever it is called"),
    Kind.RENAMED: _Look(Level.ERROR, "r", _ERROR, "not there: it has another name"),
    Kind.ABSENT: _Look(Level.ERROR, "-", _ERROR, "not there"),
    Kind.DIFFERS: _Look(Level.ERROR, "#", _ERROR, "the kernel itself says otherwise"),
    Kind.PROBLEM: _Look(Level.ERROR, "!", _ERROR, "cannot be read"),
}
_ORDER = {kind: number for number, kind in enumerate(Kind)}
