"""Tables found by what they hold, in images whose symbols do not bound them.

Without CONFIG_KALLSYMS_ALL (Debian's ARM64 kernels up to 6.1) a boot image keeps the names of its
functions only. The tables are there all the same, and no other data looks like them: hundreds of
entries in a row that each point at code of the right kind.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Callable, Collection, Sequence
from itertools import groupby

from kprobesim.image.segment import Segment

__all__ = ["find_address_runs", "find_blacklist", "find_export", "find_records"]

#: The shortest run of records that counts.
_MIN_RECORDS = 16
#: Distances back to the text or to strings, up to 64 MiB, and a word of other fields; or only two
#: distances. One byte, the highest, stands for each word.
_RUNS = {
    12: re.compile(rb"(?:[\xfc-\xff]{2}[\0-\xff]){%d,}" % _MIN_RECORDS),
    8: re.compile(rb"(?:[\xfc-\xff]{2}){%d,}" % _MIN_RECORDS),
    16: re.compile(rb"(?:[\xfc-\xff]{3}[\0-\xff]){%d,}" % _MIN_RECORDS),
}

#: How far before its string an export's entry may lie: __ksymtab, __kcrctab, __ksymtab_strings.
_EXPORTS = 2 << 20

#: Judges a record: the addresses that its first two words point to, and all its bytes.
Plausible = Callable[[int, int, bytes], bool]


def find_records(
    segments: Sequence[Segment], size: int, plausible: Plausible, *, rising: bool = False
) -> tuple[int, bytes] | None:
    """Address and bytes of the longest table of ``size``-byte records that start with distances.

    ``rising``: the addresses that the first words point to rise.
    """
    best: tuple[int, bytes] | None = None
    for segment in segments:
        # The highest byte of each little-endian word: a regular expression then sees records.
        highest = bytes(segment.data[3::4])
        for run in _RUNS[size].finditer(highest):
            found = _longest(segment, run.start() * 4, run.end() * 4, size, plausible, rising)
            if found and (best is None or len(found[1]) > len(best[1])):
                best = found
    return best


def _longest(
    segment: Segment,
    start: int,
    end: int,
    size: int,
    plausible: Plausible,
    rising: bool,
) -> tuple[int, bytes] | None:
    """The longest run of plausible records in ``[start, end)``, at whatever phase it begins."""
    best = (0, 0)
    # The last record's last word need not have matched.
    end = min(end + size, len(segment.data))
    for phase in range(start, min(start + size, end), 4):
        length = previous = 0
        for at in range(phase, end - size + 1, size):
            first, second = struct.unpack_from("<ii", segment.data, at)
            where = segment.vaddr + at
            record = bytes(segment.data[at : at + size])
            if rising and where + first <= previous:
                length = 0
            previous = where + first
            if plausible(where + first, where + 4 + second, record):
                length += size
                if length > best[1]:
                    best = at + size - length, length
            else:
                length = 0
    if best[1] < _MIN_RECORDS * size:
        return None
    return segment.vaddr + best[0], bytes(segment.data[best[0] : best[0] + best[1]])


def find_address_runs(
    segments: Sequence[Segment], low: int, high: int, least: int
) -> list[tuple[int, array[int], int]]:
    """Runs of at least ``least`` aligned words that are all addresses in ``[low, high)``.

    Each with where it lies, its words, and the word that follows.
    """
    runs = []
    for segment in segments:
        words = array("Q")
        words.frombytes(segment.data[: len(segment.data) & ~7])
        if sys.byteorder == "big":
            words.byteswap()
        places = [i for i, word in enumerate(words) if low <= word < high]
        for _, group in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
            run = [place for _, place in group]
            if len(run) >= least:
                end = run[-1] + 1
                following = words[end] if end < len(words) else 0
                runs.append((segment.vaddr + 8 * run[0], words[run[0] : end], following))
    return runs


def find_blacklist(
    runs: Sequence[tuple[int, array[int], int]], members: Collection[int]
) -> tuple[int, array[int]] | None:
    """The shortest run that holds all of ``members``, functions that every kernel blacklists.

    (A longer one may be the sites that ftrace patches.) ALLOW_ERROR_INJECTION's table follows
    (vmlinux.lds.h): pairs of an address and a small number, so the last word of the run is its
    first address if such a number comes next.
    """
    fitting = [run for run in runs if members and all(member in run[1] for member in members)]
    if not fitting:
        return None
    start, words, following = min(fitting, key=lambda run: len(run[1]))
    return start, words[:-1] if 0 < following < 16 else words


def find_export(segments: Sequence[Segment], name: str) -> int | None:
    """The address of an exported symbol, by its entry in ``__ksymtab``.

    An entry (include/linux/export.h, with CONFIG_HAVE_ARCH_PREL32_RELOCATIONS) is the distances to
    the symbol, to its name, and to the name of its namespace.
    """
    for segment in segments:
        for found in re.finditer(re.escape(name.encode()) + b"\0", segment.data):
            string = found.start()
            start = max(0, string - _EXPORTS) & -4
            words = array("i", bytes(segment.data[start : string & -4]))
            if sys.byteorder == "big":
                words.byteswap()
            for index, distance in enumerate(words):
                at = start + 4 * index
                if at + distance == string and index:
                    return segment.vaddr + at - 4 + words[index - 1]
    return None
