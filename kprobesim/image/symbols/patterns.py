"""Patterns of symbols: ``vfs_*``, as the shell has them, and which functions they match."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate

__all__ = ["is_pattern", "matcher"]

_SPECIAL = re.compile(r"[*?\[]")
# Names of what is no function of its own: what lies in front of one, and the part of it that the
# compiler has moved away.
_PARTS = re.compile(rb"__(?:pfx|cfi)_|.*\.cold(?:\.|$)", re.DOTALL)


def is_pattern(name: str) -> bool:
    """Whether it is one: ``*``, ``?`` and ``[...]`` are in no symbol's name."""
    return _SPECIAL.search(name) is not None


def matcher(pattern: str) -> Callable[[bytes], object]:
    """What tells of a symbol's name whether ``pattern`` matches all of it; case matters.

    Parts of functions (``__pfx_do_exit``, ``do_exit.cold``) are matched by patterns that name
    such parts only.
    """
    matches = re.compile(translate(pattern).encode("utf-8", "surrogateescape")).match
    if _PARTS.match(pattern.encode("utf-8", "surrogateescape")):
        return matches
    is_part = _PARTS.match
    return lambda name: matches(name) and not is_part(name)
