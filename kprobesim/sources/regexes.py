"""Regular expressions of other people: checked before 40,000 names are held against them.

Go's, which Tetragon takes, need time in proportion to the text; Python's go back and try again, and
a repeat in a repeat may take for ever.
"""

from __future__ import annotations

import re
import warnings

from kprobesim.errors import UsageError

__all__ = ["check_regex"]

_MOST = 1000
_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_REPEATS = "*+{"
_MOST_REPEATS = 8


def check_regex(text: str) -> None:
    """See that it is one, and that searching it in a name ends soon.

    Raises:
        UsageError: It is none, or repeats what repeats.
    """
    if len(text) > _MOST:
        raise UsageError(f"a regular expression of more than {_MOST} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what will be read otherwise some day
            re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{text[:60]!r} is no regular expression: {error}") from error
    if _is_slow(_PIECE.findall(text)):
        raise UsageError(f"{text[:60]!r} repeats what repeats already: write it without that")


def _is_slow(pieces: list[str]) -> bool:
    groups: list[bool] = []  # for each open group: whether a repeat or a choice is in it
    repeats = 0
    for piece, after in zip(pieces, [*pieces[1:], ""], strict=True):
        if piece == "(":
            groups.append(False)
        elif piece == ")" and groups:
            varies = groups.pop()
            if varies and after and after in _REPEATS:
                return True
            if groups:
                groups[-1] |= varies
        elif piece in ("*", "+", "{", "|", "?"):
            repeats += piece in _REPEATS
            if groups:
                groups[-1] = True
    return repeats > _MOST_REPEATS
