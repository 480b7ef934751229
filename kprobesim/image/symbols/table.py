"""The symbol table of an image: names to addresses and, as the kernel's kallsyms does, back."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kprobesim.errors import SymbolError, UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image.symbols.nearest import nearest_names
from kprobesim.image.symbols.patterns import matcher
from kprobesim.late_dataclasses import dataclass

__all__ = ["LABEL", "Columns", "Symbol", "SymbolAt", "SymbolTable"]

#: The assembler's labels, also with the prefixes that objcopy gives to code built to run elsewhere:
#: they name nothing of the kernel, and no reader hands them over.
LABEL = re.compile(rb"(?:__kvm_nvhe_|__pi_)?(?:\$|\.L)")
_ASKED = 256  # answers that are kept
#: Names that scripts/kallsyms.c (5.10-6.12) leaves out, so no kernel ever prints them.
_IGNORED_STARTS = rb"L0|__crc_|__efistub_|__kstrtab|__kcfi_typeid_|__AArch64ADRPThunk_"
_IGNORED_NAMES = (
    rb"_SDA2?_BASE_|kallsyms_(?:addresses|offsets|relative_base|num_syms|names|markers|token_table"
    rb"|token_index|seqs_of_names)"
)
_IGNORED = rb"%b|(?:%b)$" % (_IGNORED_STARTS, _IGNORED_NAMES)
_ANY_IGNORED = rb"\0(?:%b|(?:%b)\0)" % (_IGNORED_STARTS, _IGNORED_NAMES)
_CODE_LETTERS = b"tTwWi"
_LINKER_MARK = re.compile(rb"__(?:start_|stop_|end_)|__.*_(?:start|end)$")


class Columns(NamedTuple):
    """Symbols as parallel columns, in any order: what every reader of symbols hands over.

    ``sizes`` is ``None`` where the source has none; ``kinds`` holds one nm letter a symbol.
    ``ordered`` says that a kernel put them in the order in which it looks them up.
    """

    names: Sequence[bytes]
    addresses: array[int]
    sizes: array[int] | None
    kinds: bytes
    ordered: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Symbol(HexRepr):
    """One symbol. ``size`` is in bytes, ``type`` the letter that nm and /proc/kallsyms show.

    ``is_function``: it names code. The type alone (``t T w W i``) does not tell: x86 kernels since
    6.16 mark ``.data`` executable, so ``init_task`` is a ``T`` there. ``module`` is the module that
    it belongs to, "" for the kernel itself.
    """

    name: str
    address: int
    size: int
    type: str
    is_function: bool
    module: str = ""


_PUT = [vars(Symbol)[name].__set__ for name in Symbol.__slots__]


@dataclass(frozen=True, slots=True, repr=False)
class SymbolAt(HexRepr):
    """A symbol and an ``offset`` in it; as text the kernel's ``%pS``, ``name+0x10/0x40 [module]``.

    ``size`` is what kallsyms takes for the size: the distance to the next symbol.
    """

    symbol: Symbol
    offset: int
    size: int

    def __str__(self) -> str:
        module = f" [{self.symbol.module}]" if self.symbol.module else ""
        return f"{self.symbol.name}+{self.offset:#x}/{self.size:#x}{module}"


class SymbolTable:
    """All symbols of an image, by name and by address.

    ``extents`` are the sorted ``(start, end)`` ranges of the loaded image: a symbol outside them
    (an x86 per-CPU offset, an absolute number) has a name but is not found by ``at``.
    ``source`` says where the symbols come from, for people; ``module`` whose they are.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        extents: Sequence[tuple[int, int]] = (),
        source: str = "",
        module: str = "",
    ) -> None:
        self.source = source
        self._module = module
        self._extents = tuple(extents)
        order = _kallsyms_order(columns)
        names, addresses, sizes, kinds, _ = columns
        if order is not None:
            names = [names[i] for i in order]
            addresses = array("Q", [addresses[i] for i in order])
            sizes = None if sizes is None else array("Q", [sizes[i] for i in order])
            kinds = bytes([kinds[i] for i in order])
        self._names, self._addresses, self._sizes, self._kinds = names, addresses, sizes, kinds
        self._asked: dict[str, tuple[Symbol, ...]] = {}  # the newest answers of candidates()
        self._made: dict[int, Symbol] = {}  # the newest symbols, by their places
        self._last: tuple[int, SymbolAt | None] = (-1, None)  # the newest answer of at()

    def __repr__(self) -> str:
        source = f", from {self.source}" if self.source else ""
        return f"<SymbolTable of {len(self)} symbols{source}>"

    @property
    def columns(self) -> Columns:
        """All symbols in this table's order; not to be changed."""
        return Columns(self._names, self._addresses, self._sizes, self._kinds, ordered=True)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Symbol]:
        """All symbols, by address."""
        return map(self._symbol, range(len(self._names)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.candidates(name))

    def __getitem__(self, name: str) -> Symbol:
        """The symbol ``name`` or ``name@0xaddress``.

        Raises ``SymbolError`` when no symbol has that name (with the nearest names as candidates)
        and when several addresses have it (with ``name@0xaddress`` texts).
        """
        symbol = self.get(name)
        if symbol is None:
            self._refuse_unknown(name)
            raise AssertionError  # pragma: no cover
        return symbol

    def get(self, name: str) -> Symbol | None:
        """The symbol, or ``None`` when unknown; ``SymbolError`` when ambiguous."""
        found = self.candidates(name)
        if len(found) > 1:
            texts = [f"{symbol.name}@{symbol.address:#x}" for symbol in found]
            shown = ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
            raise SymbolError(
                name, f"{len(texts)} symbols are named {name}; say which: {shown}", texts
            )
        return found[0] if found else None

    def candidates(self, name: str) -> list[Symbol]:
        """The symbols that ``name`` may stand for: one for each distinct address."""
        if not isinstance(name, str):
            raise UsageError(f"{name!r} is no symbol's name: give a str; at() takes addresses")
        found = self._asked.get(name)
        if found is None:
            if len(self._asked) >= _ASKED:
                self._asked.clear()
            found = self._asked[name] = tuple(self._find(name))
        return [*found]

    def _find(self, name: str) -> list[Symbol]:
        plain, at, address = name.rpartition("@")
        if at and re.fullmatch("0[xX][0-9a-fA-F]{1,16}", address):
            wanted = int(address, 16)
            return [found for found in self._named(plain) if found.address == wanted][:1]
        return self._named(name)

    def _named(self, name: str) -> list[Symbol]:
        try:
            key = name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # no bytes of a file can have given this
            return []
        indices = self._indices(key)
        if len(indices) == 1:
            return [self._symbol(indices[0])]
        found: dict[int, int] = {}
        for index in indices:
            found.setdefault(self._addresses[index], index)
        return [self._symbol(index) for index in found.values()]

    def at(self, address: int) -> SymbolAt | None:
        """The symbol that holds ``address``, as kallsyms would name it, or ``None``.

        Among several names of one address that is the first in the order of scripts/kallsyms.c:
        strong before weak, fewer leading underscores first. A symbol reaches to the next one.
        """
        if not isinstance(address, int):
            raise UsageError(f"{address!r} is no address: give an int")
        last = self._last
        if last[0] != address:
            last = self._last = address, self._at(address)
        return last[1]

    def _at(self, address: int) -> SymbolAt | None:
        extent = self._extent(address)
        addresses, visible = self._visible
        after = bisect_right(addresses, address) if extent else 0
        if extent is None or after == 0 or addresses[after - 1] < extent[0]:
            return None
        start = addresses[after - 1]
        end = min(addresses[after] if after < len(addresses) else extent[1], extent[1])
        first = after - 1
        if first and addresses[first - 1] == start:
            first = bisect_left(addresses, start, 0, first)
        index = visible[first] if visible is not None else first
        return SymbolAt(self._symbol(index), address - start, end - start)

    def functions(self) -> Iterator[Symbol]:
        """All symbols in code, by address."""
        for index, letter in enumerate(self._kinds):
            if letter in _CODE_LETTERS and not self._is_data(self._addresses[index]):
                yield self._symbol(index)

    def matching(self, pattern: str) -> list[Symbol]:
        """The functions that ``pattern`` matches (``vfs_*``), by address, one for each.

        See :func:`~kprobesim.image.symbols.patterns.matcher`.
        """
        matches, found = matcher(pattern), dict[int, Symbol]()
        for index, name in enumerate(self._names):
            if matches(name) and self._kinds[index] in _CODE_LETTERS:
                address = self._addresses[index]
                if address not in found and not self._is_data(address):
                    found[address] = self._symbol(index)
        return [*found.values()]

    def refuse_unmatched(self, pattern: str) -> None:
        """Raise the :class:`SymbolError` of a pattern that matches nothing, with names like it."""
        near = self._like(pattern.replace("*", "").replace("?", ""))
        hint = f"; there are {', '.join(near)}" if near else ", and nothing resembles it"
        raise SymbolError(pattern, f"no function matches {pattern}{hint}", near)

    def unique_name(self, symbol: Symbol) -> str:
        """What names ``symbol`` and no other: ``name``, or ``name@0xaddress``."""
        key = symbol.name.encode("utf-8", "surrogateescape")
        if len(self._indices(key)) > 1:
            return f"{symbol.name}@{symbol.address:#x}"
        return symbol.name

    def _symbol(self, index: int) -> Symbol:
        """The symbol at that place; who judges a probe asks for the same one many times."""
        made = self._made.get(index)
        if made is None:
            if len(self._made) >= _ASKED:
                self._made.clear()
            made = self._made[index] = self._make(index)
        return made

    def _make(self, index: int) -> Symbol:
        address = self._addresses[index]
        size = self._sizes[index] if self._sizes is not None else self._distance(index)
        letter = self._kinds[index]
        code = letter in _CODE_LETTERS and not self._is_data(address)
        symbol = object.__new__(Symbol)  # a frozen dataclass takes 2 us to make itself
        values = _text(self._names[index]), address, size, chr(letter), code, self._module
        for put, value in zip(_PUT, values):  # noqa: B905
            put(symbol, value)
        return symbol

    @cached_property
    def _data(self) -> tuple[int, int]:
        """``[_sdata, _edata)``, empty if the kernel does not say."""
        start, end = self._indices(b"_sdata"), self._indices(b"_edata")
        if not start or not end:
            return 0, 0
        return self._addresses[start[0]], self._addresses[end[0]]

    def _is_data(self, address: int) -> bool:
        return self._data[0] <= address < self._data[1]

    def _distance(self, index: int) -> int:
        """How far it is to the next symbol, or to the end of what is loaded there."""
        addresses = self._addresses
        address, count, after = addresses[index], len(addresses), index + 1
        if after < count and addresses[after] == address:
            after = bisect_right(addresses, address, after)
        following = addresses[after] if after < count else 1 << 64
        extent = self._extent(address)
        return min(following, extent[1]) - address if extent else 0

    def _extent(self, address: int) -> tuple[int, int] | None:
        index = bisect_right(self._extents, (address, 1 << 64)) - 1
        if index < 0:
            return None
        extent = self._extents[index]
        return extent if address < extent[1] else None

    def _indices(self, name: bytes) -> Sequence[int]:
        """Where all symbols of that name are, in order."""
        first = self._by_name.get(name)
        return () if first is None else (first, *self._repeated.get(name, ()))

    @cached_property
    def _by_name(self) -> dict[bytes, int]:
        """Each name's first index. The names that come again are in ``_repeated``."""
        names = self._names
        return dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))

    @cached_property
    def _repeated(self) -> dict[bytes, list[int]]:
        by_name = self._by_name
        repeated: dict[bytes, list[int]] = {}
        if len(by_name) != len(self._names):
            for index, name in enumerate(self._names):
                if by_name[name] != index:
                    repeated.setdefault(name, []).append(index)
        return repeated

    @cached_property
    def _visible(self) -> tuple[array[int], array[int] | None]:
        """Addresses of the symbols that kallsyms knows, and their indices if some are left out."""
        # As one text: a third of the time.
        if re.search(_ANY_IGNORED, b"\0%b\0" % b"\0".join(self._names)) is None:
            return self._addresses, None
        ignored = re.compile(_IGNORED).match
        indices = array("I", [i for i, name in enumerate(self._names) if not ignored(name)])
        return array("Q", [self._addresses[i] for i in indices]), indices

    def count(self, name: str) -> int:
        """How many symbols have that very name, also several at one address."""
        return len(self._indices(name.encode("utf-8", "surrogateescape")))

    def any_named(self, part: bytes) -> bool:
        """Whether ``part`` is in any name."""
        return part in b"\0".join(self._names)

    def _refuse_unknown(self, name: str) -> None:
        near = self._like(name)
        hint = (
            f"; did you mean {', '.join(near)}?"
            if near
            else ", and nothing resembles it: is this the right kernel?"
        )
        raise SymbolError(name, f"no symbol is named {name}{hint}", near)

    def _like(self, name: str) -> list[str]:
        names = dict.fromkeys(self._names)
        return [_text(found) for found in nearest_names(name.encode("utf-8", "replace"), names)]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _kallsyms_order(columns: Columns) -> list[int] | None:
    """Indices in the order of scripts/kallsyms.c, or ``None`` if the columns have it already.

    It sorts by address, then puts weak symbols, linker marks and names with more leading
    underscores later (compare_symbols), and starts from nm's order, which is by name.
    """
    names, addresses, _sizes, kinds, ordered = columns
    if ordered:
        return None
    order = sorted(range(len(names)), key=addresses.__getitem__)

    def rank(index: int) -> tuple[bool, bool, int, bytes]:
        name = names[index]
        weak = kinds[index] in b"wW"
        mark = len(name) >= 8 and _LINKER_MARK.match(name) is not None
        return weak, mark, len(name) - len(name.lstrip(b"_")), name

    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and addresses[order[end]] == addresses[order[start]]:
            continue
        if end - start > 1:
            order[start:end] = sorted(order[start:end], key=rank)
        start = end
    return order
