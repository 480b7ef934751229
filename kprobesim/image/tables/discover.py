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
from itertools import compress, count, groupby
from operator import eq

from kprobesim.image.segment import Segment, findable

__all__ = [
    "JUMP_ENTRIES",
    "find_address_runs",
    "find_blacklist",
    "find_export",
    "find_export_entry",
    "find_records",
]

#: The shortest run of records that counts.
_MIN_RECORDS = 16
#: Distances back to the text or to strings, up to 64 MiB, and a word of other fields; or only two
#: distances. One byte stands for each word, "-" if it can be such a distance: a pattern that starts
#: with literal bytes is searched for ten times as fast as one that starts with a class of them.
_RUNS = {
    12: re.compile(rb"--(?:.--){%d,}." % (_MIN_RECORDS - 1), re.DOTALL),
    8: re.compile(b"-" * 2 * _MIN_RECORDS + b"-*"),
    16: re.compile(rb"---(?:.---){%d,}." % (_MIN_RECORDS - 1), re.DOTALL),
}
_DISTANCES = bytes(0xFC) + b"----"
#: Two distances to code, before or behind, and a 64-bit one to data on either side.
JUMP_ENTRIES = re.compile(
    rb"(?:[\xfc-\xff\0-\3]{2}(?:[\0-\3]\0|[\xfc-\xff]\xff)){%d,}" % _MIN_RECORDS
)

#: How far before its string an export's entry may lie: __ksymtab, __kcrctab, __ksymtab_strings.
_EXPORTS, _NEAR = 2 << 20, 1 << 18  # the strings follow right behind the tables

#: Judges a record: the addresses that its first two words point to, and all its bytes.
Plausible = Callable[[int, int, bytes], bool]
#: Where a table lies, and its bytes.
Table = tuple[int, bytes]


def find_records(
    segments: Sequence[Segment],
    sizes: Sequence[int],
    plausible: Plausible,
    *,
    rising: bool = False,
    runs: re.Pattern[bytes] | None = None,
) -> tuple[int, bytes]:
    """Address and bytes of the longest table of records that start with distances.

    ``sizes`` are those that a record may have; ``rising``: the addresses that the first words point
    to rise. ``runs`` matches the highest byte of each word of such records, if they are not of the
    usual kinds. Without such a table: (0, b"").
    """
    best: Table = 0, b""
    # The highest byte of each little-endian word: a regular expression then sees records.
    # (The slice of a memoryview would take ten times as long.)
    maps = [findable(segment.data)[3::4] for segment in segments]
    if runs is None:
        maps = [highest.translate(_DISTANCES) for highest in maps]
    for size in sizes:
        kind = runs or _RUNS[size]
        for segment, highest in zip(segments, maps, strict=True):
            found_runs = [(run.start() * 4, run.end() * 4) for run in kind.finditer(highest)]
            for start, end in sorted(found_runs, key=lambda run: run[0] - run[1]):
                if end + size - start <= len(best[1]):
                    break  # none of the rest is as long
                found = _longest(segment, start, end, size, plausible, rising)
                if found and len(found[1]) > len(best[1]):
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
    record = struct.Struct(f"<ii{size - 8}x")
    for phase in range(start, min(start + size, end), 4):
        part = bytes(segment.data[phase : phase + (end - phase) // size * size])
        where = segment.vaddr + phase
        # A run that counts has one of these; most phases have none.
        if not any(
            plausible(where + at + first, where + at + 4 + second, part[at : at + size])
            for at in range(0, len(part), size * _MIN_RECORDS)
            for first, second in (record.unpack_from(part, at),)
        ):
            continue
        length = previous = 0
        for at, (first, second) in zip(
            range(0, len(part), size), record.iter_unpack(part), strict=True
        ):
            first += where + at
            if rising and first <= previous:
                length = 0
            previous = first
            if plausible(first, where + at + 4 + second, part[at : at + size]):
                length += size
                if length > best[1]:
                    best = phase + at + size - length, length
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
    high = min(high, 1 << 64)  # where a damaged section may end
    if low >= high:
        return []
    # All of them begin with much the same byte, so a regular expression finds the candidates.
    first, last = (re.escape(bytes((address >> 56,))) for address in (low, high - 1))
    top = first if first == last else b"[%b-%b]" % (first, last)
    alike = re.compile(top * least + top + b"*")
    for segment in segments:
        for candidates in alike.finditer(findable(segment.data)[7::8]):
            start = 8 * candidates.start()
            words = array("Q")  # and the word that follows
            words.frombytes(
                segment.data[start : min(8 * candidates.end() + 8, len(segment.data) & ~7)]
            )
            if sys.byteorder == "big":
                words.byteswap()
            places = [i for i, word in enumerate(words) if low <= word < high]
            for _, group in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
                run = [place for _, place in group]
                if len(run) >= least:
                    end = run[-1] + 1
                    following = words[end] if end < len(words) else 0
                    at = segment.vaddr + start + 8 * run[0]
                    runs.append((at, words[run[0] : end], following))
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
    """The address of an exported symbol, by its entry in ``__ksymtab``."""
    place = find_export_entry(segments, name)
    if place is None:
        return None
    for segment in segments:
        if place in segment:
            at = place - segment.vaddr
            return place + int.from_bytes(segment.data[at : at + 4], "little", signed=True)
    return None


def find_export_entry(segments: Sequence[Segment], name: str) -> int | None:
    """Where the entry of an exported symbol lies.

    An entry (include/linux/export.h, with CONFIG_HAVE_ARCH_PREL32_RELOCATIONS) is the distances to
    the symbol, to its name, and to the name of its namespace.
    """
    wanted = name.encode() + b"\0"
    places = [
        (segment, found.start())
        for segment in segments
        for found in re.finditer(re.escape(wanted), segment.data)
    ]
    for reach in (_NEAR, _EXPORTS):
        for segment, string in places:
            entry = _entry_of(segment.data, string, reach)
            if entry is not None:
                return segment.vaddr + entry
    return None


def _entry_of(data: bytes | memoryview, string: int, reach: int) -> int | None:
    """Where the nearest entry before ``string``, at most ``reach`` bytes, lies that leads there."""
    start = max(0, string - reach) & -4
    words = array("i", bytes(data[start : string & -4]))
    if sys.byteorder == "big":
        words.byteswap()
    last = start + 4 * (len(words) - 1)
    hits = map(eq, reversed(words), range(string - last, string - start + 4, 4))
    found = next(compress(count(), hits), None)
    at = None if found is None else last - 4 * found - 4
    return None if at is None or at < start else at
