"""The parameters that a program's source gives it: ``int BPF_KPROBE(name, struct file *file)``.

The macro's own function is inlined and gone from the object's types; but the line that its code
comes from is kept in ``.BTF.ext``, word for word. A list that goes on in the next line is cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kprobesim.bpf.program import Program

__all__ = ["Declared", "DeclaredParameter", "declared"]

#: The macros of libbpf's bpf_tracing.h that take a name and parameters.
_MACRO = re.compile(
    r"\bBPF_(?:KPROBE|KRETPROBE|PROG2?|KSYSCALL|KPROBE_SYSCALL|UPROBE|URETPROBE)\s*\(\s*(\w+)\s*(.*)"
)
_PARAMETER = re.compile(r"(.*[\s*])(\w+)\s*((?:\[[^\]]*\])*)")


@dataclass(frozen=True)
class DeclaredParameter:
    """``type`` as it is written, with its stars: ``struct file *``."""

    type: str
    name: str

    @property
    def points_to(self) -> str | None:
        """``struct file`` of ``const struct file *``; ``None`` if it is no single pointer."""
        words = re.sub(r"\b(?:const|volatile|__user|__kernel)\b", " ", self.type)
        if words.count("*") != 1 or "(" in words:
            return None
        return " ".join(words.replace("*", " ").split())


@dataclass(frozen=True)
class Declared:
    """The parameters of a program, in order. ``complete`` is false if there may be more."""

    parameters: tuple[DeclaredParameter, ...]
    complete: bool


def declared(program: Program) -> Declared | None:
    """What the source of ``program`` says of its parameters; ``None`` if it does not say.

    >>> declared(program).parameters[1].points_to
    'struct filename'
    """
    for _, line in program.function.lines:
        match = _MACRO.search(line.text)
        if match is not None and match[1] == program.name:
            return _parse(match[2])
    return None


def _parse(text: str) -> Declared:
    """What stands behind the macro's first parameter, which is the program's name."""
    parts, depth, start, end = [], 1, 0, None
    for at, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            end = at
            break
        if letter == "," and depth == 1:
            parts.append(text[start:at])
            start = at + 1
    if end is not None:
        parts.append(text[start:end])
    found = []
    for part in parts[1:]:
        match = None if "(" in part else _PARAMETER.fullmatch(part.strip())
        if match is None:  # a type without a name, or a pointer to a function
            found.append(DeclaredParameter(" ".join(part.split()), ""))
        else:
            stars = " *" if match[3] else ""
            found.append(DeclaredParameter(" ".join(match[1].split()) + stars, match[2]))
    return Declared(tuple(found), end is not None)
