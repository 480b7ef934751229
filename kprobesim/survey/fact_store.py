"""What became of each function of a kernel, in its catalogue: found by name, a few at a time.

Facts are a line of JSON each, in the order of names, sixty-four to a packed part.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, replace
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar, cast

import zstandard

from kprobesim.catalog.file import Catalog
from kprobesim.errors import KprobesimError
from kprobesim.functions.clones import split_clone
from kprobesim.functions.facts import Clone, Evidence, FunctionFacts, InlinedAt, Inlining
from kprobesim.functions.inlining import without_a_trace
from kprobesim.image import Symbol, SymbolTable
from kprobesim.snapshot.packing import (
    PackingError,
    pack,
    pack_value,
    pack_words,
    unpack,
    unpack_value,
    unpack_words,
)
from kprobesim.survey.known import FactSource

__all__ = ["FactStore", "pack_facts"]

_T = TypeVar("_T")

_TOGETHER = 64
_NOBODY = "no function has this name"
_FIELDS = fields(FunctionFacts)
_USUAL = {field.name: None if field.default is MISSING else field.default for field in _FIELDS}
_PARTS = frozenset(("symbols", "clones", "inlining", "inlined_into", "evidence"))
_LARGEST_PART = 16 << 20
_PREFIX = "functions/"


def pack_facts(functions: FactSource, became: Iterable[FunctionFacts]) -> dict[str, bytes]:
    """Sections of which :class:`FactStore` answers as ``functions`` does.

    Args:
        functions: What became of the functions of a kernel.
        became: The facts of all of them.
    """
    all_facts = {facts.name: facts for facts in became}
    for facts in list(all_facts.values()):
        for clone in facts.clones:
            if clone.symbol.name not in all_facts:
                all_facts[clone.symbol.name] = functions.facts(clone.symbol.name)
    lines = sorted((name, _plain(facts)) for name, facts in all_facts.items())
    compress = zstandard.ZstdCompressor(level=3).compress
    starts = range(0, len(lines), _TOGETHER)
    parts = [
        compress("\n".join(json.dumps(line) for _, line in lines[at : at + _TOGETHER]).encode())
        for at in starts
    ]
    absent = functions.facts(_NOBODY)
    return {
        _PREFIX + "first": pack("\0".join(lines[at][0] for at in starts).encode()),
        _PREFIX + "sizes": pack_words(array("I", map(len, parts))),
        _PREFIX + "parts": b"".join(parts),
        _PREFIX + "strings": pack(b"\0".join([b"", *sorted(functions.strings), b""])),
        _PREFIX + "absent": pack_value(_plain(absent)),
    }


class FactStore:
    """The facts of the functions in ``catalog``, whose symbols are ``symbols``."""

    def __init__(self, catalog: Catalog, symbols: SymbolTable) -> None:
        self._catalog = catalog
        self._symbols = symbols
        self._part = lru_cache(maxsize=128)(self._unpack)

    def names(self) -> list[str]:
        """All functions that are known of."""
        names = (json.loads(line)["name"] for line in self._lines())
        return [name for name in names if split_clone(name)[0] == name]

    def facts_of_all(self) -> Iterator[FunctionFacts]:
        """The facts of each of :meth:`names`."""
        for line in self._lines():
            plain = self._read(partial(json.loads, line))
            if split_clone(plain["name"])[0] == plain["name"]:
                yield self._facts(plain)

    def facts(self, name: str) -> FunctionFacts:
        """What became of the function ``name``, which may also be the full name of a clone."""
        index = bisect_right(self._first, name) - 1
        start = f'{{"name": {json.dumps(name)},'
        for line in self._part(index) if index >= 0 else ():
            if line.startswith(start):
                return self._facts(self._read(partial(json.loads, line)))
        absent = replace(self._facts(self._absent), name=name)
        if absent.certainty == "exact":
            return absent  # debug information knows all that there is
        base = split_clone(name)[0]
        judged = without_a_trace(b"\0%b\0" % base.encode("utf-8", "replace") in self._strings)
        return replace(
            absent,
            prototype=absent.prototype if base == name else self.facts(base).prototype,
            inlining=judged.inlining,
            found_by=judged.found_by,
            certainty=judged.certainty,
            evidence=judged.evidence,
        )

    @cached_property
    def _absent(self) -> dict[str, Any]:
        """The facts of a function that is not there."""
        found = self._read(lambda: unpack_value(self._catalog.section(_PREFIX + "absent")))
        return cast("dict[str, Any]", found)

    @cached_property
    def _strings(self) -> bytes:
        return self._read(lambda: unpack(self._catalog.section(_PREFIX + "strings")))

    @property
    def strings(self) -> frozenset[bytes]:
        """The kernel's constants that could be names of functions."""
        return frozenset(filter(None, self._strings.split(b"\0")))

    def _lines(self) -> Iterator[str]:
        for part in range(len(self._first)):
            yield from self._part(part)

    @cached_property
    def _first(self) -> list[str]:
        text = self._read(lambda: unpack(self._catalog.section(_PREFIX + "first")))
        return text.decode("utf-8", "replace").split("\0") if text else []

    @cached_property
    def _parts(self) -> list[memoryview]:
        sizes = self._read(lambda: unpack_words("I", self._catalog.section(_PREFIX + "sizes")))
        data, at, parts = self._catalog.section(_PREFIX + "parts"), 0, []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        if at != len(data) or len(parts) != len(self._first):
            raise self._catalog.damaged("its facts of functions are cut short")
        return parts

    def _unpack(self, index: int) -> list[str]:
        parts = self._parts
        text = self._read(lambda: unpack(parts[index], limit=_LARGEST_PART).decode())
        return text.split("\n")

    def _facts(self, plain: dict[str, Any]) -> FunctionFacts:
        return self._read(lambda: _whole(plain, self._symbols))

    def _read(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except (PackingError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, KprobesimError):
                raise
            raise self._catalog.damaged(
                f"its facts of functions make no sense ({error})"
            ) from error


def _plain(facts: FunctionFacts) -> dict[str, Any]:
    """As JSON: the name, and what is not as usual."""
    plain: dict[str, Any] = {}
    for name, usual in _USUAL.items():
        value = getattr(facts, name)
        if value != usual and name not in _PARTS:
            plain[name] = value
    if facts.symbols:
        plain["symbols"] = [symbol.address for symbol in facts.symbols]
    if facts.clones:
        plain["clones"] = [[one.symbol.name, one.symbol.address, one.kind] for one in facts.clones]
    plain["inlining"] = facts.inlining.name
    if facts.inlined_into:
        plain["inlined_into"] = [
            [at.caller, at.file, at.line, at.address] for at in facts.inlined_into
        ]
    if facts.evidence:
        plain["evidence"] = [[one.text, one.found_by, one.certainty] for one in facts.evidence]
    return plain


def _whole(plain: dict[str, Any], symbols: SymbolTable) -> FunctionFacts:
    def each(name: str) -> list[Any]:
        found: list[Any] = plain.get(name, [])
        return found

    values = {name: tuple(v) if type(v) is list else v for name, v in plain.items()}
    values["symbols"] = tuple(_symbol(symbols, plain["name"], at) for at in each("symbols"))
    values["clones"] = tuple(
        Clone(_symbol(symbols, name, at), kind) for name, at, kind in each("clones")
    )
    values["inlining"] = Inlining[plain["inlining"]]
    values["inlined_into"] = tuple(InlinedAt(*copy) for copy in each("inlined_into"))
    values["evidence"] = tuple(Evidence(*one) for one in each("evidence"))
    return FunctionFacts(**cast(Any, values))


def _symbol(symbols: SymbolTable, name: str, address: int) -> Symbol:
    for symbol in symbols.candidates(name):
        if symbol.address == address:
            return symbol
    raise ValueError(f"no symbol {name} at {address:#x}")
