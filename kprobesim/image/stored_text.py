"""``StoredText``: the code of a kernel in a catalogue as it runs, unpacked page by page.

The image's own code, which differs from it in a few bytes of each function, is kept as the
difference to this: a few hundred bytes for each page of a kernel's megabytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from kprobesim.image.segment import Segment
from kprobesim.image.state import Sections, StoredSegment, page_reader
from kprobesim.snapshot.pages import PagedBytes, PagesError, PageWriter

__all__ = ["StoredText", "pack_text", "without_text"]

#: An area of code: its address and bytes.
Area = tuple[int, memoryview]


class StoredText:
    """The areas of code in ``file``; raises its errors for content that makes no sense."""

    def __init__(self, file: Sections) -> None:
        self._file = file
        self._areas: list[PagedBytes] = []
        self._starts: list[int] = []
        try:
            pages = page_reader(file, "text/")
            for start, size in file.facts["text"]:
                self._areas.append(pages.view(file.section(f"text/{start:#x}"), size))
                self._starts.append(start)
        except (PagesError, LookupError, TypeError, ValueError) as error:
            raise file.damaged(f"its code is nowhere ({error})") from error

    def find(self, address: int, size: int) -> bytes | None:
        """``size`` bytes of code at ``address``; ``None`` if they are not in one area."""
        index = bisect_right(self._starts, address) - 1
        at = address - self._starts[index]
        if index < 0 or at + size > self._areas[index].size:
            return None
        return self._read(index, at, size)

    def lay_over(self, data: bytearray, address: int) -> bytearray:
        """``data``, which lies at ``address``, with the code instead of what is there."""
        for low, part in self._within(address, len(data)):
            data[low : low + len(part)] = part
        return data

    def restored(self, segment: Segment) -> Segment:
        """The segment of the image of which :func:`without_text` kept the difference."""
        facts = {name: getattr(segment, name) for name in _FACTS}

        def read() -> memoryview:
            data = bytearray(segment.data)
            for low, part in self._within(segment.vaddr, len(data)):
                high = low + len(part)
                data[low:high] = _difference(data[low:high], part)
            return memoryview(data).toreadonly()

        return StoredSegment(facts, read)

    def _within(self, address: int, size: int) -> Iterable[tuple[int, bytes]]:
        for index, (start, area) in enumerate(zip(self._starts, self._areas, strict=True)):
            low, high = max(address, start), min(address + size, start + area.size)
            if low < high:
                yield low - address, self._read(index, low - start, high - low)

    def _read(self, index: int, at: int, size: int) -> bytes:
        try:
            return self._areas[index].read(at, size)
        except PagesError as error:
            raise self._file.damaged(str(error)) from error


_FACTS = ("vaddr", "paddr", "memsz", "readable", "writable", "executable", "name")


def pack_text(code: Sequence[Area]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Facts and sections of which :class:`StoredText` makes the areas of ``code`` again."""
    pages = PageWriter()
    sections = {f"text/{start:#x}": pages.add(data) for start, data in code}
    sections["text/pages"], sections["text/pages/sizes"] = pages.frames()
    areas = [[start, len(data)] for start, data in code]
    return {"text": areas, "text/pages": len(pages)}, sections


def without_text(segment: Segment, code: Sequence[Area]) -> Segment:
    """The segment with only the difference to ``code`` where that lies."""
    data = bytearray(segment.data)
    for start, part in code:
        low, high = max(segment.vaddr, start), min(segment.vaddr + len(data), start + len(part))
        if low < high:
            at, end = low - segment.vaddr, high - segment.vaddr
            data[at:end] = _difference(data[at:end], part[low - start : high - start])
    facts = {name: getattr(segment, name) for name in _FACTS}
    return Segment(data=memoryview(data).toreadonly(), **facts)


def _difference(one: bytes | bytearray, other: bytes | memoryview) -> bytes:
    both = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return both.to_bytes(len(one), "little")
