"""Numbers and switches as the kernel reads them from files (lib/kstrtox.c, 6.12)."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from kprobesim.sizes import MASK64
from kprobesim.trace.files.refusal import refusal

__all__ = ["bool_of", "letter_of", "number_of"]

_YES_NO = {"y": True, "1": True, "n": False, "0": False}
_ON_OFF = {**_YES_NO, "t": True, "f": False}
_DIGITS = {10: r"\d+", 0: r"0[xX][\da-fA-F]+|0[0-7]*|[1-9]\d*"}
_LONGEST = 64  # of what the files copy in


def number_of(text: str, base: int = 10, most: int = MASK64) -> int:
    """What ``kstrtoul_from_user()`` reads: digits, a plus before them, a line's end behind.

    Args:
        text: What was written.
        base: 10, or 0: as C writes numbers.
        most: The largest number that is taken.

    Raises:
        TracefsError: It is no number (EINVAL), or too large a one (ERANGE).
    """
    digits = text[:_LONGEST].removesuffix("\n").removeprefix("+")
    if len(text) > _LONGEST or not re.fullmatch(_DIGITS[base], digits, re.ASCII):
        raise refusal(errno.EINVAL, f"{text.strip()!r} is no number")
    octal = base == 0 and digits.startswith("0") and digits.isdigit()
    value = int(digits, 8 if octal else base)
    if value > most:
        raise refusal(errno.ERANGE, f"{value} is too large")
    return value


def bool_of(text: str) -> bool:
    """What ``kstrtobool_from_user()`` reads: ``1``, ``y``, ``on``, and what else begins so.

    Raises:
        TracefsError: It is none of them (EINVAL).
    """
    word = text.lower()
    if word[:2] in ("on", "of"):
        return word[1] == "n"
    return _one_of(_ON_OFF, text)


def letter_of(text: str) -> bool:
    """The same where the kernel looks for itself: ``1``, ``y`` and what else begins so.

    Raises:
        TracefsError: It is none of them (EINVAL).
    """
    return _one_of(_YES_NO, text)


def _one_of(words: Mapping[str, bool], text: str) -> bool:
    first = text[:1].lower()
    if first not in words:
        raise refusal(errno.EINVAL, f"{text.strip()!r} is neither 1 nor 0")
    return words[first]
