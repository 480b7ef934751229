"""What might be meant by a name that is not there."""

from __future__ import annotations

from collections.abc import Collection

from kprobesim.compat.renames import RENAMES, VARIANTS
from kprobesim.image.symbols.nearest import nearest_names

__all__ = ["nearest", "renamed"]

_MOST = 3
_GOOD_WORDS = 2


def nearest(wanted: str, names: Collection[str], count: int = _MOST) -> list[str]:
    """Up to ``count`` of ``names`` that resemble ``wanted``, nearest first."""
    encoded = {name.encode("utf-8", "surrogateescape"): name for name in names}
    found = nearest_names(wanted.encode("utf-8", "replace"), encoded, count)
    return [encoded[name] for name in found]


def renamed(wanted: str, names: Collection[str]) -> list[str]:
    """Those of ``names`` that ``wanted`` became or was, as the history of Linux has it."""
    found = [new for new in RENAMES.get(wanted, ()) if new in names]
    found += [old for old, new in RENAMES.items() if wanted in new and old in names]
    for pattern, replacement in VARIANTS:
        if pattern.search(wanted):
            variant = pattern.sub(replacement, wanted, count=1)
            if variant != wanted and variant in names:
                found.append(variant)
    return list(dict.fromkeys(found))[:_MOST]
