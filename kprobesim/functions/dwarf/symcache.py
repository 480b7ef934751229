"""``SymCache``: the file in which symbolic keeps who is inlined where, read as a whole.

symbolic's own interface answers for one address. Here it is asked which functions have inlined
copies at all, and that is a question about the table of source locations: each names a function and
the place of the call that it was inlined at. The layout is documented with the Rust crate
symbolic-symcache (lib.rs and raw/v9.rs of 13.9): a header; files, functions, source locations,
starts of ranges, strings, each aligned to eight bytes. The last source locations belong to the
ranges, one to one.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from kprobesim.errors import DebugInfoError

__all__ = ["Copy", "SymCache"]

_MAGIC = b"SYMC"
#: magic, version, debug_id, arch, num_files, num_functions, num_source_locations, num_ranges,
#: string_bytes, reserved
_HEADER = struct.Struct("<4sI32sIIIIII16x")
_FILE_WORDS = {8: 3, 9: 6}  # by version
_FUNCTION_WORDS = 4  # name, compilation directory, entry, language
_LOCATION_WORDS = 4  # file, line, function, inlined into
_NONE = 0xFFFF_FFFF
#: Inlined calls in inlined calls: kernels have up to 30.
_DEEPEST = 1000


class Copy(NamedTuple):
    """One inlined copy: ``function`` called at ``file``:``line`` of ``caller``.

    ``caller`` is the source's name of the function that the call stands in, which may itself be
    inlined, ``holder`` of that whose code holds it all; ``entry`` is where that code begins,
    ``address`` where the copy does, both counted from the image's start; ``None`` where they are
    not known.
    """

    function: str
    caller: str
    holder: str
    file: str
    line: int
    entry: int | None
    address: int | None


def _places(column: memoryview, value: int) -> Iterator[int]:
    """Where ``value`` is in ``column``."""
    numbers = array("I", column.tobytes())
    at = -1
    with suppress(ValueError):  # index() knows no other way to say that there is no more
        while True:
            at = numbers.index(value, at + 1)
            yield at


class SymCache:
    """The tables in ``data``, which may be a mapped file.

    Raises:
        DebugInfoError: It is no such file, or not whole.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if len(view) < _HEADER.size or bytes(view[:4]) != _MAGIC:
            raise DebugInfoError("no file of symbolic's: its magic is missing")
        _, version, _, _, files, functions, locations, ranges, strings = _HEADER.unpack_from(view)
        if version not in _FILE_WORDS:
            raise DebugInfoError(f"symbolic wrote version {version}; 8 and 9 are known here")
        if ranges > locations:
            raise DebugInfoError("damaged: it has more ranges than source locations")
        self._at = _HEADER.size
        self._file_words = _FILE_WORDS[version]
        self._files = self._words(view, files * self._file_words)
        self._functions = self._words(view, functions * _FUNCTION_WORDS)
        table = self._words(view, locations * _LOCATION_WORDS)
        self._file_of, self._line_of, self._function_of, self._into_of = (
            table[column::_LOCATION_WORDS] for column in range(_LOCATION_WORDS)
        )
        self._ranges = self._words(view, ranges)
        self._align()
        self._strings = bytes(view[self._at : self._at + strings])
        if len(self._strings) != strings:
            raise DebugInfoError("damaged: the file ends too early")
        self._texts: dict[int, str] = {_NONE: ""}

    def _align(self) -> None:
        self._at += -self._at % 8

    def _words(self, view: memoryview, count: int) -> memoryview:
        self._align()
        part = view[self._at : self._at + 4 * count]
        if len(part) != 4 * count:
            raise DebugInfoError("damaged: the file ends too early")
        self._at += 4 * count
        if sys.byteorder == "little":
            return part.cast("I")
        words = array("I", bytes(part))
        words.byteswap()
        return memoryview(words)

    def _text(self, offset: int) -> str:
        """The string at ``offset``, behind its length in LEB128."""
        text = self._texts.get(offset)
        if text is None:
            size = shift = 0
            at = offset
            while True:
                if at >= len(self._strings) or shift > 28:
                    raise DebugInfoError("damaged: a string lies outside of it")
                byte = self._strings[at]
                at += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            text = self._strings[at : at + size].decode("utf-8", "replace")
            self._texts[offset] = text
        return text

    def _name(self, function: int) -> str:
        return self._text(self._functions[function * _FUNCTION_WORDS])

    def _entry(self, function: int) -> int | None:
        entry = self._functions[function * _FUNCTION_WORDS + 2]
        return None if entry == _NONE else entry

    def _file(self, number: int) -> str:
        """The path of a file, below the folder in which it was compiled."""
        if number == _NONE:
            return ""
        at = number * self._file_words
        if at >= len(self._files):
            raise DebugInfoError("damaged: a source location names no file")
        compiled_in, directory, name = (self._text(word) for word in self._files[at : at + 3])
        if directory == compiled_in:
            return name
        directory = directory.removeprefix(f"{compiled_in}/")
        return f"{directory}/{name}" if directory not in ("", ".") else name

    # -- what is in it ---------------------------------------------------------------------------

    def entries(self) -> Iterator[tuple[str, int]]:
        """The name and the entry, counted from the image's start, of each function with code."""
        for name, entry in zip(
            self._functions[0::_FUNCTION_WORDS], self._functions[2::_FUNCTION_WORDS], strict=True
        ):
            if entry != _NONE:
                yield self._text(name), entry

    def lines(self) -> Iterator[tuple[int, str, int]]:
        """Where the code of each source line begins, its file, and its number; by address.

        It ends where the next one begins. Of inlined code it is the line in the inlined function;
        "" and 0 where there is none. Addresses count from the image's start.
        """
        first = len(self._into_of) - len(self._ranges)
        rows = zip(self._ranges, self._file_of[first:], self._line_of[first:], strict=True)
        files: dict[int, str] = {_NONE: ""}
        for start, file, line in rows:
            name = files.get(file)
            if name is None:
                name = files[file] = self._file(file)
            yield start, name, line if name else 0

    def files(self) -> set[str]:
        """The paths of all source files."""
        return set(self._file_numbers)

    @cached_property
    def _file_numbers(self) -> dict[str, set[int]]:
        """The numbers of each path."""
        numbers: dict[str, set[int]] = {}
        for number in range(len(self._files) // self._file_words):
            numbers.setdefault(self._file(number), set()).add(number)
        return numbers

    def lines_of(self, file: str) -> list[int]:
        """The lines of ``file`` that have code, or that call what is inlined, in order."""
        numbers = self._file_numbers.get(file, set())
        pairs = zip(self._file_of, self._line_of, strict=True)
        return sorted({line for number, line in pairs if number in numbers and line})

    def starts_of(self, file: str, line: int) -> list[int]:
        """Where the code of a line begins, once for each function and inlined copy that has some.

        Addresses count from the image's start, and are in order. A line that only calls an inlined
        function begins where that function's code does.
        """
        numbers = self._file_numbers.get(file, set())
        own = {at for at in _places(self._line_of, line) if self._file_of[at] in numbers}
        first = len(self._into_of) - len(self._ranges)
        calls: dict[int, int] = {_NONE: _NONE}
        found: dict[object, int] = {}
        for at, into in enumerate(self._into_of[first:], first):
            # A range's location is its own; what it was inlined into is shared by all of a copy.
            root = calls.get(into, -1)
            if root < 0:
                root = calls[into] = self._own_call(into, own)
            if at in own:
                found.setdefault((self._function_of[at], into), self._ranges[at - first])
            elif root != _NONE:
                found.setdefault(root, self._ranges[at - first])
        return sorted(set(found.values()))

    def _own_call(self, into: int, own: set[int]) -> int:
        """The source location of ``own`` that was inlined into, directly or not."""
        for _ in range(_DEEPEST):
            if into == _NONE or into in own:
                return into
            if into >= len(self._into_of):
                raise DebugInfoError("damaged: a source location names what is not there")
            into = self._into_of[into]
        return _NONE

    @cached_property
    def _copies(self) -> dict[str, list[tuple[int, int]]]:
        """By a function's name: its number, and the source location it was inlined into."""
        found: dict[str, list[tuple[int, int]]] = {}
        pairs = set(zip(self._function_of, self._into_of, strict=True))
        names = self._functions[0::_FUNCTION_WORDS]
        try:
            for function, into in pairs:
                if into != _NONE:
                    found.setdefault(self._text(names[function]), []).append((function, into))
        except IndexError:
            raise DebugInfoError("damaged: a source location names no function") from None
        return found

    @cached_property
    def _starts(self) -> dict[tuple[int, int], int]:
        """Where the code of each such pair begins; pairs whose code is all inlined are missing."""
        first = len(self._into_of) - len(self._ranges)
        rows = zip(
            zip(self._function_of[first:], self._into_of[first:], strict=True),
            self._ranges,
            strict=True,
        )
        found: dict[tuple[int, int], int] = {}
        for pair, start in rows:
            if pair[1] != _NONE and pair not in found:
                found[pair] = start
        # What holds nothing but other copies begins where the first of those does.
        try:
            for (_, into), start in list(found.items()):
                here = into
                for _ in range(_DEEPEST):
                    outer = (self._function_of[here], self._into_of[here])
                    if outer[1] == _NONE or found.get(outer, _NONE) <= start:
                        break
                    found[outer] = start
                    here = outer[1]
        except IndexError:
            raise DebugInfoError("damaged: a source location names what is not there") from None
        return found

    def stack_at(self, address: int) -> list[tuple[str, str, int]]:
        """Function, file and line of the code at ``address``, counted from the image's start.

        The innermost function comes first, with the line of the code; each that it is inlined into
        follows, with the line of the call. Empty where nothing is known.

        Raises:
            DebugInfoError: The tables make no sense.
        """
        at = bisect_right(self._ranges, address) - 1
        if at < 0:
            return []
        location = len(self._into_of) - len(self._ranges) + at
        found: list[tuple[str, str, int]] = []
        try:
            while location != _NONE and len(found) < _DEEPEST:
                function, line = self._function_of[location], self._line_of[location]
                if function == _NONE:
                    break
                found.append((self._name(function), self._file(self._file_of[location]), line))
                location = self._into_of[location]
        except IndexError:
            raise DebugInfoError("damaged: a source location names what is not there") from None
        return found

    def inlined(self) -> set[str]:
        """The names of all functions of which there is an inlined copy."""
        return set(self._copies)

    def copies(self, function: str) -> list[Copy]:
        """All inlined copies of the functions of that name, by address.

        Copies that one call of one caller has become, by unrolling a loop for one, are one.

        Raises:
            DebugInfoError: The tables make no sense.
        """
        found = []
        for number, into in self._copies.get(function, ()):
            try:
                root = into
                for _ in range(_DEEPEST):
                    if self._into_of[root] == _NONE:
                        break
                    root = self._into_of[root]
                found.append(
                    Copy(
                        function,
                        self._name(self._function_of[into]),
                        self._name(self._function_of[root]),
                        self._file(self._file_of[into]),
                        self._line_of[into],
                        self._entry(self._function_of[root]),
                        self._starts.get((number, into)),
                    )
                )
            except IndexError:
                raise DebugInfoError("damaged: a source location names what is not there") from None
        return sorted(found, key=lambda copy: (copy.address or 0, copy))
