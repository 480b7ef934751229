"""``ProgramProbe``: a kprobe whose handler is a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kprobesim.kprobes.kprobe import Kprobe, PreHandler
from kprobesim.machine.unicorn.native import Native
from kprobesim.programs.appending import Append
from kprobesim.programs.compiler.block import BLOCK
from kprobesim.programs.program import Program
from kprobesim.programs.stores.words import Words

if TYPE_CHECKING:
    from kprobesim.programs.planted import Planted

__all__ = ["ProgramProbe"]

_NMISSED, _FAULTS, _HITS = map(BLOCK.index, ("nmissed", "faults", "hits"))


class ProgramProbe(Kprobe):
    """A probe that does what a program says.

    Where only programs are at its address, its compiled function is called at a hit; where a probe
    of Python is there, too, its ``pre_handler`` calls that function in its turn.

    Attributes:
        program: What it does.
        planted: What it was planted with, and what that keeps.
        native: The compiled function; ``None``: ``pre_handler`` is all there is.
    """

    own_arming = "hook"
    __slots__ = ("_at", "_block", "native", "planted", "program")

    def __init__(self, place: Mapping[str, Any], program: Program, block: Words, at: int) -> None:
        """Make one.

        Args:
            place: Where: the arguments ``symbol_name``, ``addr`` and ``offset`` of a ``Kprobe``.
            program: What it does.
            block: Words of which its own begin at ``at``; see
                :mod:`~kprobesim.programs.compiler.block`.
            at: Where they begin.
        """
        self._block, self._at = block, at
        self.native: Native | None = None
        self.planted: Planted
        self.program = program
        super().__init__(**place)

    def use_native(self, native: Native, handler: PreHandler) -> None:
        """Let hits call a compiled function; ``handler`` does so for Python."""
        self.native = native
        self.pre_handler = handler

    def use_python(self, run: Callable[[Any, int], None]) -> None:
        """Let hits call a function of Python."""

        def pre_handler(p: Kprobe, regs: Any) -> None:
            run(regs, p.addr or 0)

        self.pre_handler = pre_handler

    @property
    def is_stored_by_others(self) -> bool:
        """Whoever reads a stream keeps what appends to it."""
        return any(isinstance(action, Append) for action in self.program.actions)

    def become(self, other: ProgramProbe) -> None:
        """Do what ``other`` would do, which is not registered; what was counted stays."""
        hits, faults, nmissed = self.hits, self.faults, self.nmissed
        self._block, self._at, self.program = other._block, other._at, other.program
        self.native, self.pre_handler = other.native, other.pre_handler
        self.remember(hits, faults)
        self.nmissed = nmissed

    def count(self, name: str) -> None:
        """Count a hit or a fault, in words that compiled code counts in, too."""
        self._block[self._at + BLOCK.index(name)] += 1

    @property
    def nmissed(self) -> int:
        """Hits for which the program did not run because a probe was being handled."""
        return int(self._block[self._at + _NMISSED])

    @nmissed.setter
    def nmissed(self, value: int) -> None:
        self._block[self._at + _NMISSED] = value

    @property
    def told_nobody(self) -> int:  # type: ignore[override]
        """Hits that have left something behind."""
        return self.hits + self.faults + self.nmissed

    @property
    def faults(self) -> int:
        """Hits with a value that was needed and could not be fetched."""
        return int(self._block[self._at + _FAULTS])

    def remember(self, hits: int, faults: int) -> None:
        """It had so many before it was stored."""
        self._block[self._at + _HITS], self._block[self._at + _FAULTS] = hits, faults

    @property
    def hits(self) -> int:
        """Hits that met the condition."""
        return int(self._block[self._at + _HITS])
