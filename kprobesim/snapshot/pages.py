"""Pages of memory, each kept once: zero pages not at all, the others packed sixteen to a frame.

A memory is a list of runs ``(at, number, count)``: its pages ``at ...`` are the stored pages
``number ...``. Guest RAM holds a quarter of its pages twice or more (the initramfs and its files,
poison), and the kernel's constants are in RAM as they are in the image.

Frames of sixteen pages unpack a third faster than single pages and are a tenth smaller; more pages
gain nothing.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Protocol

import zstandard

from kprobesim.sizes import PAGE

__all__ = ["Frames", "PageReader", "PageWriter", "PagedBytes", "PagesError"]


_FRAME = 16
_BLOCK = 16 * PAGE
_LEVEL = 1  # 3 is 3 % smaller, packs a third slower and unpacks as fast
#: Pages that a memory keeps which is read in places: a megabyte.
_KEPT = 256
#: Frames that are unpacked together: 2 MiB. (With more, their buffers come new from the host.)
_AT_ONCE = 32
_THREADS = 2
#: Holes of less are not left out: each range is a mapping of its own.
_SHORT_GAP = 64 * PAGE
_ZERO_PAGE = bytes(PAGE)
_ZERO_BLOCK = bytes(_BLOCK)

Run = tuple[int, int, int]


class Frames(Protocol):
    """Bytes that are sliced: in memory, or in a file that is read then."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, where: slice, /) -> bytes | memoryview:
        """Some of them."""


class PagesError(Exception):
    """Runs or frames that cannot be those of a memory."""


class PageWriter:
    """Collects the pages of one memory after the other."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        """How many different pages there are."""
        return len(self._numbers)

    def add(self, memory: mmap.mmap | memoryview) -> bytes:
        """The runs of ``memory``, whose last page may be cut short.

        A run is of new pages or of known ones, never of both.
        """
        runs = array("I")
        numbers = self._numbers
        last_at = last_number = -2
        was_new = False
        for at, page in _used_pages(memory):
            before = len(numbers)
            number = numbers.setdefault(page, before)
            is_new = number == before
            if at == last_at + 1 and number == last_number + 1 and is_new == was_new:
                runs[-1] += 1
            else:
                runs.extend((at, number, 1))
            last_at, last_number, was_new = at, number, is_new
        return _little_endian(runs)

    def frames(self) -> tuple[bytes, bytes]:
        """All frames in one, and their sizes."""
        compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        pages = list(self._numbers)
        frames = [
            compress(b"".join(pages[at : at + _FRAME])) for at in range(0, len(pages), _FRAME)
        ]
        return b"".join(frames), _little_endian(array("I", map(len, frames)))


def _used_pages(memory: mmap.mmap | memoryview) -> Iterator[tuple[int, bytes]]:
    """The pages that are not all zero, with their numbers."""
    for start in range(0, len(memory), _BLOCK):
        block = bytes(memory[start : start + _BLOCK])
        if block == _ZERO_BLOCK:
            continue
        for at in range(0, len(block), PAGE):
            page = block[at : at + PAGE]
            if page != _ZERO_PAGE:
                yield (start + at) // PAGE, page.ljust(PAGE, b"\0")


class PageReader:
    """Gives back what :class:`PageWriter` was given; ``count`` pages. Raises PagesError."""

    def __init__(self, frames: Frames, sizes: memoryview, count: int) -> None:
        lengths = _words(sizes)
        if len(lengths) != -(-count // _FRAME) or sum(lengths) != len(frames):
            raise PagesError("its pages are not as many as its directory says")
        self.count = count
        self._frames = frames
        self._ends = array("Q", accumulate(lengths, initial=0))
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._last = (-1, b"")

    def fill(self, memory: mmap.mmap, runs: memoryview) -> None:
        """Make the zeroed ``memory`` what it was.

        Pages are unpacked once, in order, many at a time by threads of zstandard's own, which let
        Python's others run; those that come again are copied within ``memory``. Meanwhile the host
        may give it huge pages: the pages of a guest lie close together, and to touch them one by
        one takes as long as a third of the unpacking.
        """
        known = 0
        numbers: list[int] = []
        fresh: list[Run] = []
        again: list[Run] = []
        for run in self._runs(runs, len(memory)):
            _, number, count = run
            if number == known:
                known += count
                numbers.append(number)
                fresh.append(run)
            elif number + count <= known:
                again.append(run)
            else:
                raise PagesError("its pages are out of order")
        with _huge_pages(memory):
            ahead = _Ahead(self._packed, self._frame_size)
            for run in fresh:
                _copy(memory, run, ahead.frame)
        for at, number, count in again:
            while count:
                place, first, length = fresh[bisect_right(numbers, number) - 1]
                take = min(count, first + length - number)
                memory.move(at * PAGE, (place + number - first) * PAGE, take * PAGE)
                at, number, count = at + take, number + take, count - take

    def ranges(self, runs: bytes | memoryview, size: int) -> list[tuple[int, int]]:
        """Start and end of what is not zero in a memory of ``size`` bytes, short gaps included."""
        found: list[tuple[int, int]] = []
        for at, _, count in self._runs(runs, -(-size // PAGE) * PAGE):
            start, end = at * PAGE, (at + count) * PAGE
            if found and start - found[-1][1] < _SHORT_GAP:
                start = found.pop()[0]
            found.append((start, end))
        return found

    def read(self, runs: bytes | memoryview, size: int) -> bytearray:
        """A memory of ``size`` bytes of which :meth:`PageWriter.add` gave the ``runs``."""
        whole = -(-size // PAGE) * PAGE
        memory = bytearray(whole)
        for run in self._runs(runs, whole):
            _copy(memory, run, self._frame)
        del memory[size:]
        return memory

    def view(self, runs: bytes | memoryview, size: int) -> PagedBytes:
        """The same memory, of which only what is asked for is unpacked."""
        whole = -(-size // PAGE) * PAGE
        return PagedBytes(self, list(self._runs(runs, whole)), size)

    def page(self, number: int) -> memoryview:
        """The stored page ``number``, which the reader has."""
        frame, inside = divmod(number, _FRAME)
        return memoryview(self._frame(frame))[inside * PAGE : (inside + 1) * PAGE]

    def _runs(self, packed: bytes | memoryview, size: int) -> Iterator[Run]:
        words = _words(packed)
        if len(words) % 3:
            raise PagesError("its runs of pages are cut short")
        end = 0
        for at, number, count in zip(words[0::3], words[1::3], words[2::3], strict=True):
            if at < end or number + count > self.count or (at + count) * PAGE > size:
                raise PagesError("its runs of pages lead outside of the memory")
            end = at + count
            yield at, number, count

    def _packed(self, index: int, most: int) -> list[memoryview]:
        """The frames from ``index`` on, at most so many."""
        ends = self._ends[index : index + most + 1]
        together = memoryview(self._frames[ends[0] : ends[-1]])
        return [together[a - ends[0] : b - ends[0]] for a, b in pairwise(ends)]

    def _frame_size(self, index: int) -> int:
        return min(_FRAME, self.count - index * _FRAME) * PAGE

    def _frame(self, index: int) -> bytes:
        if self._last[0] != index:
            (packed,) = self._packed(index, 1)
            size = self._frame_size(index)
            try:
                if zstandard.frame_content_size(packed) != size:
                    raise PagesError("a frame is of another size than its pages")
                data = self._decompress(packed)
            except zstandard.ZstdError as error:
                raise PagesError(f"a frame is damaged ({error})") from error
            if len(data) != size:
                raise PagesError("a frame is cut short")
            self._last = index, data
        return self._last[1]


class PagedBytes:
    """A memory of ``size`` bytes whose pages are unpacked when they are read."""

    def __init__(self, pages: PageReader, runs: list[Run], size: int) -> None:
        self._pages = pages
        self._runs = runs
        self._starts = [at for at, _, _ in runs]
        self.size = size
        self._page = lru_cache(maxsize=_KEPT)(self._unpack)

    def read(self, at: int, size: int) -> bytes:
        """``size`` bytes from ``at`` on, which must be there; raises PagesError for damage."""
        if not 0 <= at <= at + size <= self.size:
            raise PagesError("asked for bytes outside of the memory")
        number, inside = divmod(at, PAGE)
        data = self._page(number)[inside : inside + size]
        if len(data) == size:
            return data
        parts, left = [data], size - len(data)
        while left > 0:
            number += 1
            parts.append(self._page(number)[:left])
            left -= PAGE
        return b"".join(parts)

    def _unpack(self, number: int) -> bytes:
        index = bisect_right(self._starts, number) - 1
        if index >= 0:
            at, stored, count = self._runs[index]
            if number < at + count:
                return bytes(self._pages.page(stored + number - at))
        return _ZERO_PAGE


class _Ahead:
    """Frames that are asked for in order, unpacked many at a time."""

    def __init__(
        self, packed: Callable[[int, int], list[memoryview]], size: Callable[[int], int]
    ) -> None:
        self._packed = packed
        self._size = size
        self._start = 0
        self._frames: list[memoryview] = []

    def frame(self, index: int) -> memoryview:
        """What the frame ``index`` holds; raises PagesError."""
        at = index - self._start
        if at >= len(self._frames):
            self._start, at = index, 0
            self._frames = self._unpack(index, self._packed(index, _AT_ONCE))
        return self._frames[at]

    def _unpack(self, first: int, packed: list[memoryview]) -> list[memoryview]:
        sizes = [self._size(first + i) for i in range(len(packed))]
        try:
            if [*map(zstandard.frame_content_size, packed)] != sizes:
                raise PagesError("a frame is of another size than its pages")
            unpacked = zstandard.ZstdDecompressor().multi_decompress_to_buffer(
                [*packed], threads=_THREADS
            )
        except zstandard.ZstdError as error:
            raise PagesError(f"a frame is damaged ({error})") from error
        frames = [memoryview(unpacked[i]) for i in range(len(unpacked))]  # type: ignore[arg-type]
        if [*map(len, frames)] != sizes:
            raise PagesError("a frame is cut short")
        return frames


def _copy(
    memory: mmap.mmap | bytearray, run: Run, frame: Callable[[int], bytes | memoryview]
) -> None:
    at, number, count = run
    while count:
        index, inside = divmod(number, _FRAME)
        take = min(count, _FRAME - inside)
        data = memoryview(frame(index))[inside * PAGE : (inside + take) * PAGE]
        memory[at * PAGE : (at + take) * PAGE] = data
        at, number, count = at + take, number + take, count - take


@contextmanager
def _huge_pages(memory: mmap.mmap) -> Iterator[None]:
    """Let the host use huge pages, if it has any; and none for what is touched later."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):  # not Linux
        yield
        return
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    try:
        yield
    finally:
        with suppress(OSError):
            memory.madvise(mmap.MADV_NOHUGEPAGE)


def _little_endian(words: array[int]) -> bytes:
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def _words(packed: bytes | memoryview) -> array[int]:
    if len(packed) % 4:
        raise PagesError("a list of numbers is cut short")
    words = array("I")
    words.frombytes(packed)
    if sys.byteorder == "big":
        words.byteswap()
    return words
