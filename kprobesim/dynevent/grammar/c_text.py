"""What the kernel's own string functions make of a text: numbers, names, words.

lib/kstrtox.c, lib/vsprintf.c, lib/ctype.c and is_good_name() of kernel/trace/trace.h. Texts are
bytes here, one character each (Latin-1), as the kernel counts columns.
"""

from __future__ import annotations

import errno
import re

from kprobesim.sizes import MASK64

__all__ = [
    "as_bytes",
    "as_text",
    "is_good_group",
    "is_good_name",
    "is_letter",
    "kstrtol",
    "kstrtouint",
    "kstrtoul",
    "simple_strtoul",
    "split_words",
]

_DIGITS = {8: re.compile("[0-7]*"), 10: re.compile("[0-9]*"), 16: re.compile("[0-9a-fA-F]*")}
_HEX = re.compile("0[xX][0-9a-fA-F]")
_LETTER = "A-Za-z_\xc0-\xd6\xd8-\xf6\xf8-\xff"
_NAME = re.compile(f"[{_LETTER}][{_LETTER}0-9]*")
_GROUP = re.compile(f"[{_LETTER}][{_LETTER}0-9-]*")
_SPACES = re.compile("[ \t\n\v\f\r\xa0]+")
_SIGNED_MAX = MASK64 >> 1


def as_bytes(text: str) -> str:
    """``text`` with one character for each of its bytes in UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def as_text(text: str) -> str:
    """What :func:`as_bytes` was given."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def split_words(text: str) -> tuple[str, ...]:
    """``argv_split()``: what white space separates; there are no quotes."""
    return tuple(word for word in _SPACES.split(text) if word)


def is_letter(text: str) -> bool:
    """Whether a name may begin with the first character of ``text``."""
    return _NAME.match(text) is not None


def is_good_name(name: str) -> bool:
    """Whether it is a name for an event or argument."""
    return _NAME.fullmatch(name) is not None


def is_good_group(name: str) -> bool:
    """Whether it is a name for a group, which may have hyphens (5.18)."""
    return _GROUP.fullmatch(name) is not None


def _number(text: str, base: int) -> tuple[int, str]:
    """The number at the start of ``text``, without bound, and what follows it.

    Raises:
        ValueError: There is no digit.
    """
    if base == 0:
        base = 16 if _HEX.match(text) else 8 if text.startswith("0") else 10
        text = text[2:] if base == 16 else text
    digits = _DIGITS[base].match(text)
    assert digits is not None  # it matches nothing, too
    return int(digits[0], base), text[digits.end() :]


def kstrtoul(text: str, base: int = 0) -> tuple[int, int]:
    """An unsigned number of 64 bits as (errno, value); errno is 0 if it is one."""
    return _kstrtoull(text.removeprefix("+"), base)


def _kstrtoull(text: str, base: int) -> tuple[int, int]:
    try:
        value, rest = _number(text, base)
    except ValueError:
        return errno.EINVAL, 0
    if value > MASK64:
        return errno.ERANGE, 0
    return (0, value) if rest in ("", "\n") else (errno.EINVAL, 0)


def kstrtouint(text: str, base: int = 0) -> tuple[int, int]:
    """An unsigned number of 32 bits as (errno, value)."""
    error, value = kstrtoul(text, base)
    return (errno.ERANGE, 0) if not error and value >> 32 else (error, value)


def kstrtol(text: str, base: int = 0) -> tuple[int, int]:
    """A signed number of 64 bits as (errno, value)."""
    if text.startswith("-"):
        error, value = _kstrtoull(text[1:], base)
        least, value = value <= _SIGNED_MAX + 1, -value
    else:
        error, value = kstrtoul(text, base)
        least = value <= _SIGNED_MAX
    return (error, value) if error or least else (errno.ERANGE, 0)


def simple_strtoul(text: str, base: int = 0, *, saturates: bool) -> tuple[int, str]:
    """The number at the start of ``text``, 0 if there is none, and what follows it.

    Args:
        text: Digits first.
        base: 8, 10 or 16; 0: as C writes numbers.
        saturates: One that is too large becomes the largest (7.3); else only its low bits count.
    """
    try:
        value, rest = _number(text, base)
    except ValueError:
        return 0, text
    return min(value, MASK64) if saturates else value & MASK64, rest
