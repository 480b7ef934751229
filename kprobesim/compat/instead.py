"""What might be meant by a name that is not there."""

from __future__ import annotations

from collections.abc import Collection

from kprobesim.compat.history import HISTORY, VARIANTS, Step
from kprobesim.compat.kinds import Kind
from kprobesim.image.symbols.nearest import nearest_names

__all__ = ["became", "nearest"]

_MOST = 3


def nearest(wanted: str, names: Collection[str], count: int = _MOST) -> list[str]:
    """Up to ``count`` of ``names`` that resemble ``wanted``, nearest first."""
    encoded = {name.encode("utf-8", "surrogateescape"): name for name in names}
    found = nearest_names(wanted.encode("utf-8", "replace"), encoded, count)
    return [encoded[name] for name in found]


def became(wanted: str, names: Collection[str]) -> Step | None:
    """What ``wanted`` became in a kernel with functions ``names``, as the history of Linux has it.

    Also what it was: a name of now that an older kernel does not have yet.
    """
    for step in HISTORY.get(wanted, ()):
        present = tuple(name for name in step.names if name in names)
        if present:
            return Step(step.kind, present[:_MOST])
    older = tuple(
        old
        for old, steps in HISTORY.items()
        if old in names
        and any(step.kind is Kind.RENAMED and wanted in step.names for step in steps)
    )
    variants = tuple(
        variant
        for pattern, replacement in VARIANTS
        if (variant := pattern.sub(replacement, wanted, count=1)) != wanted and variant in names
    )
    found = tuple(dict.fromkeys((*older, *variants)))
    return Step(Kind.RENAMED, found[:_MOST]) if found else None
