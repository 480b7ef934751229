"""bpftrace's words: a script without comments and preprocessor lines, cut into tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Token", "strip", "tokens"]

# What is never closed reaches to the end: each place is then looked at once.
_COMMENTS = re.compile(r'"(?:[^"\\\n]|\\.)*(?:"|\\?\Z|(?=\n))|/\*.*?(?:\*/|\Z)|//[^\n]*', re.DOTALL)
_TOKEN = re.compile(
    r"""
    (?P<string>"(?:[^"\\]|\\.)*(?:"|\\?\Z))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<variable>\$\w+|\$\#|@\w*)
    |(?P<number>\d\w*)
    |(?P<sign>->|==|!=|<=|>=|\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w*)[ \t]*((?:[^\n\\]|\\.)*\\?)", re.MULTILINE | re.DOTALL)


class Token(NamedTuple):
    """A word of a script: its text, the name of its kind, and where it starts."""

    text: str
    kind: str
    at: int

    @property
    def end(self) -> int:
        """The place behind it."""
        return self.at + len(self.text)


def strip(text: str) -> str:
    """The script with blanks for comments and preprocessor lines: every place stays where it was.

    ``BPFTRACE_HAVE_BTF`` is defined, as wherever the kernel's own types are to be had; of other
    conditions both branches stay.
    """

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else _blank(found[0])

    text = _COMMENTS.sub(blank, text)
    kept, last = list[str](), 0
    conditions = _Conditions()
    for directive in _DIRECTIVE.finditer(text):
        part = text[last : directive.start()]
        kept.append(_blank(part) if conditions.hide else part)
        kept.append(_blank(directive[0]))
        last = directive.end()
        conditions.follow(directive[1], directive[2])
    kept.append(_blank(text[last:]) if conditions.hide else text[last:])
    return "".join(kept)


class _Conditions:
    """The ``#if``s that a place is in; ``hide`` says whether one of them hides it."""

    def __init__(self) -> None:
        self._hidden = [False]  # one for each, with those around it
        self._known = [False]  # whether it is ours to judge

    @property
    def hide(self) -> bool:
        return self._hidden[-1]

    def follow(self, word: str, rest: str) -> None:
        """Take a directive into account."""
        if word in ("if", "ifdef", "ifndef"):
            known = word != "if" and rest.split()[:1] == ["BPFTRACE_HAVE_BTF"]
            self._known.append(known)
            self._hidden.append(self.hide or (known and word == "ifndef"))
        elif len(self._hidden) > 1 and word in ("else", "endif"):
            known, hidden = self._known.pop(), self._hidden.pop()
            if word == "else":
                self._known.append(known)
                self._hidden.append(self.hide or (known and not hidden))


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """The words between two places of a stripped script."""
    found = _TOKEN.finditer(text, start, len(text) if end is None else end)
    return [Token(one[0], one.lastgroup or "sign", one.start()) for one in found]
