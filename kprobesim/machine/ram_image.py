"""What a guest's RAM held at one moment, and the way back to it that touches few pages.

The contents go into a file in memory, and the RAM becomes a private mapping of that file, at the
same address. Then the host's page tables say which pages were written since, and dropping these
gives the file's contents again. Where the host does not say it, all of the RAM is compared.
"""

from __future__ import annotations

import mmap
import os
import time
import weakref
import zlib

from kprobesim.machine.guest_ram import GuestRam
from kprobesim.machine.host_mapping import map_private, new_file
from kprobesim.machine.written_pages import PAGE, Ranges, Tracker, find_tracker

__all__ = ["RamImage"]

_CHUNK = 64 << 10
_SLOW = 0.0004  # seconds of asking the host


class RamImage:
    """A copy of ``ram``. ``before`` is the image that the RAM is a mapping of, if it is one.

    ``tracker`` is for tests; ``None`` in it stands for a host that knows nothing.
    """

    def __init__(
        self,
        ram: GuestRam,
        before: RamImage | None = None,
        tracker: tuple[Tracker | None] | None = None,
    ) -> None:
        self._ram = ram
        self._size = len(ram)
        self._address = ram.host_address
        self._tracker = find_tracker() if tracker is None else tracker[0]
        self._process = os.getpid()
        self._file = new_file(self._size)
        self._crowded = False
        self._close = weakref.finalize(self, os.close, self._file)
        self._copy(before)
        if self._tracker is not None:
            self.put_under()

    @property
    def tracks(self) -> bool:
        """Whether the host says which pages were written."""
        return self._tracker is not None

    def _copy(self, before: RamImage | None) -> None:
        """Write to the file all that is not zero."""
        if self._tracker is None:
            ranges = [(0, self._size)]
        elif before is None:
            ranges = [*self._ram.mapped, *self._tracker(self._address, self._size, False)]
        else:
            ranges = [*before._contents(), *before.written()]
        zero = bytes(_CHUNK)
        with memoryview(self._ram) as view:
            for start, end in ranges:
                for at in range(start, end, _CHUNK):
                    chunk = bytes(view[at : min(at + _CHUNK, end)])
                    if chunk != zero[: len(chunk)]:
                        os.pwrite(self._file, chunk, at)

    def _contents(self) -> Ranges:
        return self._contents_of(self._file)

    def _contents_of(self, file: int) -> Ranges:
        """Where a file may hold anything but zeroes."""
        ranges, at = [], 0
        while at < self._size:
            try:
                at = os.lseek(file, at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing more
                break
            end = os.lseek(file, at, os.SEEK_HOLE)
            ranges.append((at, end))
            at = end
        return ranges

    def read(self, start: int, size: int) -> bytes:
        """What was in the RAM from ``start`` on."""
        return os.pread(self._file, size, start)

    def put_under(self) -> None:
        """Let the RAM hold what it held, whatever is in it now."""
        if self._tracker is None:
            self.reset(self.written())
        else:
            map_private(self._address, self._size, self._file)

    def written(self) -> Ranges:
        """Which bytes of the RAM, in whole pages, may be others than the copy's."""
        if self._tracker is not None:
            start = time.perf_counter()
            found = self._tracker(self._address, self._size, True)
            self._crowded = time.perf_counter() - start > _SLOW
            return found
        ranges: Ranges = []
        with memoryview(self._ram) as view:
            for at in range(0, self._size, _CHUNK):
                kept = os.pread(self._file, _CHUNK, at)
                if kept == view[at : at + _CHUNK].tobytes():
                    continue
                for page in range(at, min(at + _CHUNK, self._size), PAGE):
                    here = view[page : min(page + PAGE, self._size)].tobytes()
                    if kept[page - at : page - at + len(here)] == here:
                        continue
                    if ranges and ranges[-1][1] == page:
                        ranges[-1] = ranges[-1][0], page + len(here)
                    else:
                        ranges.append((page, page + len(here)))
        return ranges

    def changes(self) -> int:
        """A checksum of what is in the RAM now and was not then, and where."""
        check = 0
        with memoryview(self._ram) as view:
            for start, end in self.written():
                for at in range(start, end, PAGE):
                    here = view[at : min(at + PAGE, end)].tobytes()
                    if here != self.read(at, len(here)):
                        check = zlib.crc32(here, zlib.crc32(at.to_bytes(8, "little"), check))
        return check

    def adopt(self, ranges: Ranges) -> None:
        """What is in these ranges of the RAM, :meth:`written` by now, belongs to the image.

        In a copy of the process that has made the image it becomes one of the copy's own: the file
        is under the RAM of both.
        """
        if os.getpid() != self._process:
            self._part(ranges)
        with memoryview(self._ram) as view:
            for start, end in ranges:
                os.pwrite(self._file, view[start:end], start)
        if self._tracker is not None:
            for start, end in ranges:
                self._ram.madvise(mmap.MADV_DONTNEED, start, end - start)

    def _part(self, ranges: Ranges) -> None:
        """Have a file of our own; ``ranges`` of the RAM are to be written to it."""
        shared, self._file = self._file, new_file(self._size)
        kept = self._close
        self._close = weakref.finalize(self, os.close, self._file)
        self._process = os.getpid()
        for start, end in self._contents_of(shared):
            for at in range(start, end, _CHUNK):
                os.pwrite(self._file, os.pread(shared, min(_CHUNK, end - at), at), at)
        with memoryview(self._ram) as view:
            contents = [(start, bytes(view[start:end])) for start, end in ranges]
        if self._tracker is not None:
            map_private(self._address, self._size, self._file)
            for start, data in contents:
                self._ram[start : start + len(data)] = data
        kept()

    def reset(self, ranges: Ranges) -> None:
        """Let these ranges hold what they held; :meth:`written` has just given them.

        The host looks at every page that was ever touched. When that gets slow, all are dropped
        once: what is needed comes back by itself.
        """
        ram = self._ram
        if self._crowded:
            ranges = [(0, self._size)]
        if self._tracker is not None:
            madvise, dontneed = ram.madvise, mmap.MADV_DONTNEED
            for start, end in ranges:
                madvise(dontneed, start, end - start)
            return
        for start, end in ranges:
            ram[start:end] = os.pread(self._file, end - start, start)
