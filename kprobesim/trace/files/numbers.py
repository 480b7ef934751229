"""Numbers and switches as the kernel reads them from files (lib/kstrtox.c, 6.12)."""

from __future__ import annotations

import errno
import re

from kprobesim.sizes import MASK64
from kprobesim.trace.files.refusal import refusal

__all__ = ["bool_of", "number_of"]

_ON_OFF = {"y": True, "t": True, "1": True, "n": False, "f": False, "0": False}
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
    if word[:1] not in _ON_OFF:
        raise refusal(errno.EINVAL, f"{text.strip()!r} is neither 1 nor 0")
    return _ON_OFF[word[0]]
