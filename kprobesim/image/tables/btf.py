"""Where a kernel image carries its BTF, the types of the kernel (CONFIG_DEBUG_INFO_BTF)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kprobesim.errors import TypesError
from kprobesim.image.segment import Segment
from kprobesim.types.btf import Btf
from kprobesim.types.header import MAGIC

__all__ = ["find_btf"]


def find_btf(
    segments: Sequence[Segment], place: tuple[int, int] | None, source: str = "BTF"
) -> Btf | None:
    """The BTF between the addresses ``place``; without them, what has its magic in ``segments``.

    Args:
        segments: The memory of the image.
        place: ``__start_BTF`` and ``__stop_BTF``, if these are known.
        source: The name of the image, for errors.

    Raises:
        TypesError: What is at that place is damaged.
    """
    for segment in segments:
        data = segment.data
        if place is not None:
            start, end = place[0] - segment.vaddr, place[1] - segment.vaddr
            if 0 <= start < end <= len(data):
                return Btf(data[start:end], source=source)
            continue
        for found in re.finditer(MAGIC, data):
            btf = _try(data[found.start() :], source) if found.start() % 4 == 0 else None
            if btf is not None:
                return btf
    return None


def _try(data: memoryview, source: str) -> Btf | None:
    """A kernel's BTF; the magic alone may be anything."""
    try:
        btf = Btf(data, source=source)
        return btf if btf.offset("task_struct", "pid") is not None else None
    except TypesError:
        return None
