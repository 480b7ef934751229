"""``Btf``: the types of a kernel or module as it carries them for BPF, each read when asked for.

Documentation/bpf/btf.rst: a header, a section of types numbered from 1, a section of strings. A
module has only the types that its kernel has not (split BTF); its numbers and strings go on where
those of the kernel, its base, end. Where types lie is known only from the length of all before, so
the first that is asked for by number is walked to, once: 20 ms for the 146,000 of Linux 7.3.
"""

from __future__ import annotations

import builtins
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TypeVar, overload

from kprobesim.errors import TypesError
from kprobesim.types.header import MOST_ELEMENTS, read_header
from kprobesim.types.member_offsets import MemberOffsets
from kprobesim.types.model import KINDS, Composite, Function, Type, Unknown, Void

__all__ = ["Btf"]

_CHUNK = 1 << 17  # words: as many are walked at once
_FEW = 16  # names that are searched one by one; who asks for more gets an index
_MANY = 512  # times that a word may occur before the index is cheaper

_T = TypeVar("_T", bound=Type)


class Btf:
    """The types in ``data``, which starts with BTF's header.

    >>> btf.named("vfs_read", Function)[0].parameters[0].name
    'file'

    Nothing but the header is looked at before somebody asks; then what is wrong is told.

    Attributes:
        data: The BTF alone, from its header to its end.
        base: The types that these go on from; ``None`` for a kernel's.
        source: Whose types they are, for errors.
        words: The section of types in words of 32 bits.
    """

    def __init__(
        self, data: bytes | memoryview, base: Btf | None = None, source: str = "BTF"
    ) -> None:
        """Look at the header.

        Args:
            data: BTF as the section ``.BTF`` holds it; more may follow.
            base: The kernel's types, if these are a module's.
            source: The name of a file or a module.

        Raises:
            TypesError: There is no BTF, or its header speaks of more than there is.
        """
        self.base = base
        self.source = source
        header = read_header(data, source)
        self.data = bytes(data[: header.end])
        self._types_at, types_end = header.types
        self._strings_at, strings_end = header.strings
        self._strings_size = strings_size = strings_end - self._strings_at
        self._once, self._element = header.once, header.element
        self.words = memoryview(self.data)[self._types_at : types_end].cast("I")
        if strings_size and self.data[self._strings_at + strings_size - 1]:
            raise self.damaged("the last of its strings has no end")
        if base is None and (not strings_size or self.data[self._strings_at]):
            raise self.damaged("its strings do not start with an empty one")
        self._first = 1 if base is None else len(base)
        self._first_string = 0 if base is None else base.strings_end
        self._places: list[int] = []
        self._walked = 0
        self._broken: str | None = None
        self._known: dict[int, Type] = {}
        self._texts: dict[int, str] = {}
        self._searches = 0
        self._offsets = MemberOffsets(self)

    def __repr__(self) -> str:
        return f"<Btf {self.source}>"

    def __reduce__(self) -> tuple[object, ...]:
        return Btf, (self.data, self.base, self.source)

    # -- by number ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many types there are, ``void`` and those of the base counted.

        Raises:
            TypesError: A type makes no sense or is cut short.
        """
        self._walk()
        if self._broken is not None:
            raise self.damaged(self._broken)
        return self._first + len(self._places)

    def __iter__(self) -> Iterator[Type]:
        """Its own types, not those of the base nor ``void``, in order."""
        return map(self.type, range(self._first, len(self)))

    def of(self, *classes: builtins.type[_T]) -> Iterator[_T]:
        """Its own types of these kinds, in order; no object is made for the others.

        Raises:
            TypesError: A type makes no sense or is cut short.
        """
        kinds = {number for number, each in enumerate(KINDS) if issubclass(each, classes)}
        words = self.words
        len(self)  # walk, and tell of damage
        for number, at in enumerate(self._places, self._first):
            if words[at + 1] >> 24 & 0x7F in kinds:
                found = self.type(number)
                assert isinstance(found, classes)
                yield found

    def type(self, number: int) -> Type:
        """The type of that number.

        Raises:
            TypesError: There is none, or it or one before it is damaged.
        """
        found = self.get(number)
        if found is None:
            raise TypesError(self.source, f"has no type {number}, only {len(self)} types")
        return found

    def get(self, number: int) -> Type | None:
        """The type of that number, ``None`` if there is none.

        Raises:
            TypesError: It or one before it is damaged.
        """
        found = self._known.get(number)
        if found is not None or number < 0:
            return found
        if number < self._first and self.base is not None:
            return self.base.get(number)
        if number == 0:
            found = Void(self, 0, 0)
        else:
            index = number - self._first
            if index >= len(self._places):
                self._walk(index=index)
            if index >= len(self._places):
                if self._broken is not None:
                    raise self.damaged(self._broken)
                return None
            at = self._places[index]
            kind = self.words[at + 1] >> 24 & 0x7F
            found = (KINDS[kind] if kind < len(KINDS) else Unknown)(self, number, at)
        self._known[number] = found
        return found

    # -- by name -----------------------------------------------------------------------------------

    @overload
    def named(self, name: str) -> list[Type]: ...
    @overload
    def named(self, name: str, *classes: builtins.type[_T]) -> list[_T]: ...

    def named(self, name: str, *classes: builtins.type[Type]) -> list[Type]:  # type: ignore[misc]
        """All types of that name, those of the base first, in order.

        Args:
            name: ``task_struct``, without the word ``struct``.
            classes: Only these kinds of types, as :class:`Struct`; by default all.

        Raises:
            TypesError: A type makes no sense or is cut short.
        """
        found: list[Type] = [] if self.base is None else self.base.named(name)
        found += map(self.type, self._numbers(name))
        return [each for each in found if isinstance(each, classes)] if classes else found

    def flavours(self, name: str) -> list[Type]:
        """All types of that name, with or without a flavour behind it: ``name___old``.

        libbpf calls it the essential name: what stands before the last three underscores.
        """
        found: list[Type] = [] if self.base is None else self.base.flavours(name)
        names = {each.name for each in found} | set(self._starting_with(f"{name}___"))
        if next(self.string_offsets(name), None) is not None:
            names.add(name)
        own = {number for each in names for number in self._numbers(each)}
        return found + [self.type(number) for number in sorted(own) if number >= self._first]

    def _starting_with(self, start: str) -> Iterator[str]:
        """The strings of its own that start so."""
        wanted = b"\0" + start.encode()
        end = self._strings_at + self._strings_size
        at = self.data.find(wanted, self._strings_at, end)
        while at >= 0:
            behind = self.data.index(b"\0", at + 1)
            yield self.data[at + 1 : behind].decode("utf-8", "replace")
            at = self.data.find(wanted, behind, end)

    @cached_property
    def names(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of its own types that have each name; the base's are not in it."""
        found: dict[int, list[int]] = {}
        words = self.words
        len(self)  # walk, and tell of damage
        for number, at in enumerate(self._places, self._first):
            name = words[at]
            if name:
                found.setdefault(name, []).append(number)
        together: dict[str, tuple[int, ...]] = {}
        for name, numbers in found.items():
            text = self.string(name)
            together[text] = (*together.get(text, ()), *numbers)
        return together

    def functions(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of its own functions of each name; made once."""
        return self._functions

    @cached_property
    def _functions(self) -> Mapping[str, tuple[int, ...]]:
        kind, words, string = KINDS.index(Function), self.words, self.string
        found: dict[str, tuple[int, ...]] = {}
        len(self)
        for number, at in enumerate(self._places, self._first):
            if words[at + 1] >> 24 & 0x7F == kind:
                name = string(words[at])
                found[name] = (*found[name], number) if name in found else (number,)
        return found

    def offset(self, struct_name: str, path: str) -> int | None:
        """Where member ``path`` (``"a"`` or ``"a.b"``) of a struct or union lies, in bytes.

        Members of anonymous structs and unions count as the struct's own, as in C. ``None`` if
        there is no such struct or member, or if it is a bit field that starts within a byte.

        >>> btf.offset("task_struct", "comm")
        1968
        """
        if self.base is None:
            return self._offsets.find(struct_name, path)
        for struct_type in self.named(struct_name, Composite):
            found = struct_type.inside(path)
            if found is not None:
                return found.offset if found.bit_offset % 8 == 0 else None
        return None

    # -- strings -----------------------------------------------------------------------------------

    def string(self, offset: int) -> str:
        """The string at ``offset``; what cannot be printed is escaped.

        Raises:
            TypesError: There is none.
        """
        known = self._texts.get(offset)
        if known is not None:
            return known
        if offset < self._first_string and self.base is not None:
            return self.base.string(offset)
        start = offset - self._first_string
        if not 0 <= start < self._strings_size:
            raise self.damaged(f"it speaks of a string at {offset:#x}, behind the last")
        start += self._strings_at
        text = self.data[start : self.data.find(b"\0", start)].decode("utf-8", "backslashreplace")
        if not text.isprintable():
            text = text.encode("unicode_escape").decode("ascii")
        self._texts[offset] = text
        return text

    @property
    def pool(self) -> bytes:
        """Its own strings, each with its NUL."""
        return self.data[self._strings_at : self._strings_at + self._strings_size]

    @property
    def strings_end(self) -> int:
        """The offset behind all strings, where those of a module's types go on."""
        end: int = self._first_string + self._strings_size
        return end

    def string_offsets(self, name: str) -> Iterator[int]:
        """Where the whole string ``name`` is, in the pools of this and its base: mostly once."""
        if self.base is not None:
            yield from self.base.string_offsets(name)
        wanted = name.encode() + b"\0"
        start, end = self._strings_at, self._strings_at + self._strings_size
        if self._strings_size and self.data.startswith(wanted, start):
            yield self._first_string
        at = self.data.find(b"\0" + wanted, start, end)
        while at >= 0:
            yield at + 1 - start + self._first_string
            at = self.data.find(b"\0" + wanted, at + 1, end)

    def damaged(self, problem: str) -> TypesError:
        """The error that says so."""
        return TypesError(self.source, f"its BTF is damaged: {problem}")

    # -- where types are ---------------------------------------------------------------------------

    def records(self, name_offset: int) -> Iterator[int] | None:
        """The indexes of words that are ``name_offset``; some start types of that name.

        ``None`` if there are so many that a look at all types is cheaper.
        """
        word, end = struct.pack("<I", name_offset), self._types_at + 4 * len(self.words)
        found, count = [], 0
        at = self.data.find(word, self._types_at, end)
        while at >= 0:
            count += 1
            if count > _MANY:
                return None
            if (at - self._types_at) % 4 == 0:
                found.append((at - self._types_at) >> 2)
            at = self.data.find(word, at + 1, end)
        return iter(found)

    def around(self, word: int) -> Type:
        """The type in whose record that word lies; raises as :meth:`__len__`."""
        len(self)
        return self.type(self._first + bisect_right(self._places, word) - 1)

    def _numbers(self, name: str) -> Iterator[int]:
        """The numbers of its own types of that name."""
        self._searches += 1
        found = self._search(name) if self._searches <= _FEW and name else None
        return iter(self.names.get(name, ()) if found is None else found)

    def _search(self, name: str) -> list[int] | None:
        """The same by looking for the bytes; ``None`` if that would take longer."""
        found: list[int] = []
        for count, offset in enumerate(self._endings(name.encode() + b"\0")):
            records = self.records(offset) if count < _FEW else None
            if records is None:
                return None
            found += [number for at in records if (number := self._number_at(at)) is not None]
        return sorted(found)

    def _endings(self, wanted: bytes) -> Iterator[int]:
        """Where the bytes are in the pools: strings may share their ends."""
        if self.base is not None:
            yield from self.base._endings(wanted)
        start, end = self._strings_at, self._strings_at + self._strings_size
        at = self.data.find(wanted, start, end)
        while at >= 0:
            yield at - start + self._first_string
            at = self.data.find(wanted, at + 1, end)

    def _number_at(self, at: int) -> int | None:
        """The number of the type that starts at the word ``at``, if one does."""
        self._walk(word=at)
        if self._broken is not None:
            raise self.damaged(self._broken)
        index = bisect_left(self._places, at)
        if index == len(self._places) or self._places[index] != at:
            return None
        return self._first + index

    def _walk(self, index: int | None = None, word: int | None = None) -> None:
        """Find where types are: all, or up to its ``index``-th or to the ``word``."""
        end = len(self.words)
        while self._walked < end and self._broken is None:
            if word is not None and self._walked > word:
                return
            self._walk_to(min(end, self._walked + _CHUNK))
            if index is not None and len(self._places) > index:
                return

    def _walk_to(self, stop: int) -> None:
        words, once, element = self.words, self._once, self._element
        add = self._places.append
        at, end = self._walked, len(words)
        limit = min(stop, end - 2)
        while at < limit:
            info = words[at + 1]
            kind = info >> 24
            step = once[kind]
            if element[kind]:
                step += (info & MOST_ELEMENTS) * element[kind]
            if step <= 0 or at + step > end:
                self._broken = self._what_is_wrong(at, step)
                return
            add(at)
            at += step
        if limit < stop and at < end:
            self._broken = f"it ends within type {self._first + len(self._places)}"
        self._walked = max(at, stop) if at >= end else at

    def _what_is_wrong(self, at: int, step: int) -> str:
        info = self.words[at + 1]
        what = f"type {self._first + len(self._places)} (at {4 * at:#x} of its types)"
        if step <= 0:
            return f"{what} is of a kind that nobody knows, {info >> 24 & 0x7F}"
        return f"{what} claims {info & MOST_ELEMENTS} elements, which do not fit in"
