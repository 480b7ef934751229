"""A function of an object's code, and a program, which is one that the kernel attaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from kprobesim.bpf.attachment import Attachment
from kprobesim.bpf.elf_file import Symbol
from kprobesim.bpf.instructions import Instruction
from kprobesim.hexrepr import HexRepr

__all__ = ["Function", "Program", "SourceLine"]


class SourceLine(NamedTuple):
    """Where code comes from: ``file``, ``line``, and what is written there."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, eq=False, repr=False)
class Function(HexRepr):
    """A function in an executable section.

    ``start`` is the number of its first instruction in its section, numbered ``section_index``.
    ``references`` are the symbols that its instructions refer to, by number of the instruction.
    A global function is verified on its own, whatever it is called with.
    """

    name: str
    section: str
    section_index: int
    start: int
    is_global: bool
    instructions: tuple[Instruction, ...] = field(repr=False)
    references: dict[int, Symbol] = field(repr=False)
    lines: tuple[tuple[int, SourceLine], ...] = field(default=(), repr=False)

    @property
    def end(self) -> int:
        """The number of the instruction behind it."""
        return self.start + len(self.instructions)

    def source_line(self, instruction: int) -> SourceLine | None:
        """Which line an instruction comes from, if the object says so."""
        found = None
        for start, line in self.lines:
            if start > instruction:
                break
            found = line
        return found


@dataclass(frozen=True, eq=False)
class Program:
    """A function that is attached.

    ``section`` is the name of its section without the ``?`` that makes it ``optional``: not loaded
    unless somebody asks for it.
    """

    function: Function
    attachment: Attachment
    optional: bool = False

    @property
    def name(self) -> str:
        """The name of its function."""
        return self.function.name

    @property
    def section(self) -> str:
        """The name of its section, as in ``SEC("kprobe/vfs_read")``, without a leading ``?``."""
        return self.function.section.removeprefix("?")

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """Its own code; that of the functions which it calls is theirs."""
        return self.function.instructions
