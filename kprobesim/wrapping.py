"""Text for people in lines of a terminal's width: names and C stay whole."""

from __future__ import annotations

import textwrap

__all__ = ["WIDTH", "wrapped"]

WIDTH = 80
"""Of a terminal, in characters."""


def wrapped(text: str, width: int = WIDTH, first: str = "", rest: str = "") -> list[str]:
    """``text`` in lines of at most ``width``, unless a word is longer.

    Args:
        text: Words between blanks.
        width: In characters, what stands before a line counted.
        first: What stands before the first line.
        rest: What stands before the others.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
