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
    conditions: list[bool | None] = []  # True: this branch counts; None: not ours to judge
    for directive in _DIRECTIVE.finditer(text):
        part = text[last : directive.start()]
        kept.append(_blank(part) if False in conditions else part)
        kept.append(_blank(directive[0]))
        last = directive.end()
        _follow(conditions, directive[1], directive[2])
    part = text[last:]
    kept.append(_blank(part) if False in conditions else part)
    return "".join(kept)


def _follow(conditions: list[bool | None], word: str, rest: str) -> None:
    if word in ("if", "ifdef", "ifndef"):
        known = word != "if" and rest.split()[:1] == ["BPFTRACE_HAVE_BTF"]
        conditions.append(word == "ifdef" if known else None)
    elif word == "else" and conditions:
        last = conditions[-1]
        conditions[-1] = None if last is None else not last
    elif word == "endif" and conditions:
        conditions.pop()


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """The words between two places of a stripped script."""
    found = _TOKEN.finditer(text, start, len(text) if end is None else end)
    return [Token(one[0], one.lastgroup or "sign", one.start()) for one in found]
