"""What commands print: styled on a terminal, plain elsewhere, and safe with strange names."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

__all__ = [
    "Line",
    "error_console",
    "escaped",
    "make_console",
    "print_json",
    "print_lines",
    "styled",
]

Line = Sequence["str | tuple[str, str]"]
"""Parts of a line, plain or with a style, as :func:`styled` takes them."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def make_console() -> Console:
    """Standard output: long lines stay whole, nothing is guessed to be markup."""
    return Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False, emoji=False)


def error_console() -> Console:
    """Standard error, the same way."""
    return Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def styled(*parts: str | tuple[str, str]) -> Text:
    """One text from plain parts and (part, style) pairs.

    Names and strings come from an image that may hold anything: control characters are shown as
    escapes, so that they cannot command the terminal.
    """
    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(escaped(content), style)
    return text


def escaped(text: str) -> str:
    """``text`` without control characters, but for ends of lines and tabs."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def print_lines(lines: Iterable[Line]) -> None:
    """An answer for people, on standard output."""
    console = make_console()
    for line in lines:
        console.print(styled(*line))


def print_json(data: object) -> None:
    """``data`` as one JSON document on standard output."""
    print(json.dumps(data, indent=2))
