"""What the tables for people have in common: names at the left, a column or more for a kernel."""

from __future__ import annotations

from collections.abc import Iterable

from kprobesim.arch.architecture import halves
from kprobesim.compat.finding import AskedKernel

__all__ = ["Line", "arch_letter", "name_width", "series", "short"]

Line = list[tuple[str, str]]
"""Pieces of text, each with its style."""

_LEAST_NAME, _MOST_NAME = 16, 38
_ARCH_LETTERS = halves(x86_64="x", arm64="a")


def arch_letter(arch: str) -> str:
    """One letter for an architecture."""
    return _ARCH_LETTERS.get(arch, "?")


def series(kernel: AskedKernel) -> str:
    """``"6.12"``, by which columns are grouped."""
    parts = kernel.release.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else kernel.label[:8]


def name_width(texts: Iterable[str]) -> int:
    """How wide the column of the probes' names is."""
    longest = max(map(len, texts), default=0)
    return min(max(longest, _LEAST_NAME), _MOST_NAME)


def short(text: str, width: int) -> str:
    """The text, cut with an ellipsis if it is longer than ``width``."""
    return text if len(text) <= width else text[: width - 1] + "…"
