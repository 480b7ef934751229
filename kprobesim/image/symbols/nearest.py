"""Names that look like a name that was not found."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["nearest_names"]

#: difflib compares about 50,000 short strings a second: it gets the most promising few.
_SHORTLIST = 2000


def nearest_names(wanted: bytes, names: Collection[bytes], count: int = 5) -> list[bytes]:
    """Up to ``count`` of ``names`` that resemble ``wanted``, nearest first.

    A name that the compiler gave a suffix (``do_x.isra.0``) is nearest of all.
    """
    if not wanted or len(wanted) > 512:
        return []
    suffixed = [name for name in names if name.startswith(wanted + b".")]
    pairs = {wanted[i : i + 2] for i in range(len(wanted) - 1)}
    low, high = len(wanted) * 2 // 3, len(wanted) * 3 // 2 + 1

    def shared(name: bytes) -> int:
        return sum(pair in name for pair in pairs) * 8 - abs(len(name) - len(wanted))

    promising = sorted(
        (name for name in names if low <= len(name) <= high), key=shared, reverse=True
    )[:_SHORTLIST]
    texts = {name.decode("latin-1"): name for name in promising}
    import difflib  # names that are all right need none

    close = difflib.get_close_matches(wanted.decode("latin-1"), texts, n=count, cutoff=0.6)
    found = dict.fromkeys(suffixed[:count])
    found.update(dict.fromkeys(texts[text] for text in close))
    return list(found)[:count]
