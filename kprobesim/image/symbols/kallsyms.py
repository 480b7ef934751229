"""The symbol table that a kernel carries for itself, read from the image's bytes.

scripts/kallsyms.c writes it as a group of arrays without a header, so it is found by its shape.
Names are compressed: each code byte stands for one of 256 tokens. The token table is found by the
tokens of the ten digits, which stand for themselves, and proved by its index; the names are proved
by the markers, which say where every 256th name starts. The layouts of 4.4 to 7.3:

* up to 6.3: addresses, number, names, markers, (6.2, and later 6.1: order,) tokens, token index
* since 6.4: number, names, markers, tokens, token index, addresses, order
* up to 4.19 the number and the markers are 64-bit words, since then 32-bit words
* since 6.1 a name's length may take two bytes, before that it was one byte
* an address is a 64-bit word; or a 32-bit distance from a base, where x86 up to 6.14 marks what
  is no per-CPU offset by the sign; or, in 7.x, a 32-bit distance from its own place
"""

from __future__ import annotations

import operator
import re
import struct
import sys
from array import array
from collections.abc import Callable
from typing import NamedTuple

from kprobesim.image.symbols.table import Columns
from kprobesim.sizes import MASK64

__all__ = ["find_kallsyms"]

_DIGITS = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))
#: KSYM_NAME_LEN is 512 since 6.1; no token table entry is longer.
_LONGEST_NAME = 512
_PER_MARKER = 256
#: How far before the tokens the markers may start: the order of the names lies between (3 bytes a
#: name, and a kernel has 40,000 to 300,000 of them).
_WINDOWS = (1 << 14, 1 << 18, 1 << 20, 1 << 22)
#: How long to search, in steps of about 20 us. Kernels take a few hundred.
_MOST_EFFORT = 200_000
#: Words of markers: since 4.20, and before it.
_MARKERS = ("I", "Q")


class _TooMuch(Exception):
    """More places look like a part of the table than in any kernel."""


class _Effort:
    """What the search may still cost, so that an image made to mislead it takes seconds at most."""

    def __init__(self) -> None:
        self._left = _MOST_EFFORT

    def spend(self, cost: int) -> None:
        """Count work before it is done."""
        self._left -= cost
        if self._left < 0:
            raise _TooMuch


class _Tokens(NamedTuple):
    start: int
    index_end: int
    tokens: list[bytes]


class _Names(NamedTuple):
    number_at: int
    number: int
    codes: list[bytes]


def find_kallsyms(data: memoryview, vaddr: int, image: tuple[int, int]) -> Columns | None:
    """The symbols in ``data``, relocated bytes at ``vaddr`` of the image ``[start, end)``.

    ``None`` if there is no table in a known layout.
    """
    try:
        return _find(data, vaddr, image)
    except _TooMuch:
        return None


def _find(data: memoryview, vaddr: int, image: tuple[int, int]) -> Columns | None:
    effort = _Effort()
    for digits in _DIGITS.finditer(data):
        effort.spend(1)
        tokens = _read_tokens(data, digits.start())
        if tokens is None:
            continue
        names = _find_names(data, tokens.start, effort)
        if names is None:
            continue
        addresses = _find_addresses(_Place(data, vaddr, *image), tokens, names)
        if addresses is not None:
            texts = _expand(names.codes, tokens.tokens)
            kinds = bytes([text[0] if text else 0x3F for text in texts])
            return Columns([text[1:] for text in texts], addresses, None, kinds, ordered=True)
    return None


def _words(data: memoryview, start: int, end: int, kind: str) -> array[int]:
    words = array(kind)
    size = words.itemsize
    start, end = max(start, 0), min(end, len(data))
    words.frombytes(data[start : max(start, end - (end - start) % size)])
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _align(offset: int, to: int) -> int:
    return -(-offset // to) * to


def _read_tokens(data: memoryview, zero_at: int) -> _Tokens | None:
    """The token table whose entry for ``0`` is at ``zero_at``, if an index of it follows."""
    after_zero = 256 - ord("0")
    tail = bytes(data[zero_at : zero_at + after_zero * (_LONGEST_NAME + 1)]).split(
        b"\0", after_zero
    )
    if len(tail) <= after_zero:
        return None
    end = zero_at + sum(map(len, tail[:after_zero])) + after_zero
    for alignment in (8, 4, 2):
        index_at = _align(end, alignment)
        index = _words(data, index_at, index_at + 512, "H")
        if len(index) < 256 or index[0] != 0:
            continue
        start = zero_at - index[ord("0")]
        if start < 0:
            continue
        table = bytes(data[start:end])
        tokens = table.split(b"\0")[:256]
        # Each index must be where the string before it has ended.
        expected = 0
        for token, offset in zip(tokens, index, strict=False):
            if offset != expected:
                break
            expected += len(token) + 1
        else:
            if len(tokens) == 256:
                return _Tokens(start, index_at + 512, tokens)
    return None


def _find_names(data: memoryview, tokens_at: int, effort: _Effort) -> _Names | None:
    tried: set[tuple[str, int]] = set()
    for window in _WINDOWS:
        for kind in _MARKERS:
            names = _names_in_window(data, tokens_at, window, kind, tried, effort)
            if names is not None:
                return names
        if tokens_at <= window:
            return None
    return None


def _names_in_window(
    data: memoryview,
    tokens_at: int,
    window: int,
    kind: str,
    tried: set[tuple[str, int]],
    effort: _Effort,
) -> _Names | None:
    """The names whose markers are words of ``kind``, at most ``window`` bytes before the tokens."""
    size = array(kind).itemsize
    low = max(tokens_at - window, tokens_at % size)
    words = _words(data, low, tokens_at, kind)
    zeros = [i for i, word in enumerate(words) if not word]
    effort.spend(len(zeros) // 20)
    for at in reversed(zeros):
        where = low + size * at
        if (kind, where) in tried:
            continue
        tried.add((kind, where))
        markers = _marker_run(words, at)
        # A lone zero is a marker table only where nothing but padding and a short order array
        # lies between.
        if len(markers) < 3 and tokens_at - where > 16 + 3 * _PER_MARKER * len(markers):
            continue
        for count in range(len(markers), max(0, len(markers) - 3), -1):
            names = _names_before(data, where, markers[:count], effort)
            if names is not None:
                return names
    return None


def _marker_run(words: array[int], at: int) -> array[int]:
    """The words from ``at`` that rise as markers do."""
    least, most = 2 * _PER_MARKER, (_LONGEST_NAME + 2) * _PER_MARKER
    end = at + 1
    while end < len(words) and least <= words[end] - words[end - 1] <= most:
        end += 1
    return words[at:end]


def _names_before(
    data: memoryview, markers_at: int, markers: array[int], effort: _Effort
) -> _Names | None:
    """The names that end at ``markers_at`` and start where ``markers`` say."""
    most = _PER_MARKER * len(markers)
    least = most - _PER_MARKER + 1
    last = markers[-1]
    # The names' first byte lies in a window as long as the last block of names may be.
    high = markers_at - last
    low = max(high - (_LONGEST_NAME + 2) * _PER_MARKER - 8, 8)
    low += (markers_at - low) % 4
    effort.spend(200)
    words = _words(data, low - 8, high, "I")
    for i in range(len(words), 1, -1):
        # The number is right before the names (7.x) or padded to eight bytes.
        count, number_at = words[i - 1], low - 8 + 4 * (i - 1)
        if count == 0:
            count, number_at = words[i - 2], number_at - 4
        if least <= count <= most:
            start = low - 8 + 4 * i
            blob = bytes(data[start:markers_at])
            effort.spend(100)
            for two_bytes in (True, False):
                codes = _split(blob, count, markers, two_bytes=two_bytes)
                if codes is not None:
                    return _Names(number_at, count, codes)
    return None


def _split(blob: bytes, count: int, markers: array[int], *, two_bytes: bool) -> list[bytes] | None:
    """The ``count`` compressed names that fill ``blob``, or ``None`` unless all markers agree."""
    codes: list[bytes] = []
    at = 0
    size = len(blob)
    for marker in markers:
        if marker != at:
            return None
        for _ in range(min(_PER_MARKER, count - len(codes))):
            if at >= size:
                return None
            length = blob[at]
            at += 1
            if length & 0x80 and two_bytes:
                if at >= size:
                    return None
                length = (length & 0x7F) | blob[at] << 7
                at += 1
            if not length:
                return None
            codes.append(blob[at : at + length])
            at += length
    return codes if 0 <= size - at < 8 and not any(blob[at:]) else None


def _expand(codes: list[bytes], tokens: list[bytes]) -> list[bytes]:
    """The names, each with its type letter in front.

    All at once: joined by a character that is no code, translated, and split again.
    """
    table = [token.decode("latin-1") for token in tokens] + ["\0"]
    joined = "\u0100".join([code.decode("latin-1") for code in codes])
    return joined.translate(table).encode("latin-1").split(b"\0")


def _rises(words: array[int]) -> bool:
    return all(map(operator.le, words, memoryview(words)[1:]))


class _Place(NamedTuple):
    """Where the words of ``data`` are, and the range that addresses must be in."""

    data: memoryview
    vaddr: int
    start: int
    end: int

    def holds(self, address: int) -> bool:
        return self.start <= address <= _align(self.end, 1 << 16)


def _find_addresses(place: _Place, tokens: _Tokens, names: _Names) -> array[int] | None:
    """The addresses, wherever they are and however they are written."""
    number = names.number
    for read, size, base_size, alignments in _READERS:
        for alignment in alignments:
            before = names.number_at - base_size - size * number
            after = _align(tokens.index_end, alignment)
            for at in (before // alignment * alignment, after):
                if at != after and read is _read_place:
                    continue  # 7.x has them after the tokens
                if not 0 <= at <= len(place.data) - size * number:
                    continue
                found = read(place, at, number, alignment)
                if found is not None and _rises(found):
                    return found
    return None


def _base(place: _Place, at: int, number: int, alignment: int) -> int | None:
    """kallsyms_relative_base, which follows the distances; it is an address of the image."""
    at = _align(at + 4 * number, alignment)
    if at + 8 > len(place.data):
        return None
    (base,) = struct.unpack_from("<Q", place.data, at)
    return base if place.holds(base) else None


def _read_relative(place: _Place, at: int, number: int, alignment: int) -> array[int] | None:
    base = _base(place, at, number, alignment)
    if base is None:
        return None
    distances = _words(place.data, at, at + 4 * number, "I")
    if base + max(distances) >= 1 << 64:
        return None
    return array("Q", [base + distance for distance in distances])


def _read_signed(place: _Place, at: int, number: int, alignment: int) -> array[int] | None:
    base = _base(place, at, number, alignment)
    if base is None:
        return None
    distances = _words(place.data, at, at + 4 * number, "i")
    if base - 1 - min(distances) >= 1 << 64:
        return None
    return array("Q", [base - 1 - word if word < 0 else word for word in distances])


def _read_absolute(place: _Place, at: int, number: int, _alignment: int) -> array[int] | None:
    words = _words(place.data, at, at + 8 * number, "Q")
    return words if place.holds(words[number // 2]) else None


def _read_place(place: _Place, at: int, number: int, _alignment: int) -> array[int] | None:
    origin = place.vaddr + at
    distances = _words(place.data, at, at + 4 * number, "i")
    # Not the last: 7.0 and 7.1 name .modinfo, too, which is linked behind _end and not loaded.
    for index in (0, number // 2):
        if not place.holds(origin + 4 * index + distances[index]):
            return None
    return array("Q", [(origin + 4 * i + word) & MASK64 for i, word in enumerate(distances)])


_Reader = Callable[[_Place, int, int, int], "array[int] | None"]
#: Each with the size of its words, that of the base that follows them, and the alignments to try:
#: tables are aligned to 8 bytes up to 6.19, and to 4 in 7.x, whose distances would make sense one
#: word further on as well.
_READERS: tuple[tuple[_Reader, int, int, tuple[int, ...]], ...] = (
    (_read_relative, 4, 8, (8, 4)),
    (_read_signed, 4, 8, (8, 4)),
    (_read_absolute, 8, 0, (8, 4)),
    (_read_place, 4, 0, (4, 8)),
)
