"""What became of each function of a kernel, in its catalogue: found by name, a few at a time.

Facts are a line of JSON each, in the order of names, sixty-four to a packed part.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import zstandard

from kprobesim.catalog.file import Catalog
from kprobesim.errors import KprobesimError
from kprobesim.functions.facts import Clone, Evidence, FunctionFacts, InlinedAt, Inlining
from kprobesim.image import Symbol, SymbolTable
from kprobesim.snapshot.packing import PackingError, pack, pack_words, unpack, unpack_words

__all__ = ["FactStore", "pack_facts"]

_T = TypeVar("_T")

_TOGETHER = 64
_FIELDS = fields(FunctionFacts)
_USUAL = {field.name: None if field.default is MISSING else field.default for field in _FIELDS}
_LARGEST_PART = 16 << 20
_PREFIX = "functions/"


def pack_facts(facts: Iterable[FunctionFacts]) -> dict[str, bytes]:
    """Sections of which :class:`FactStore` makes ``facts`` again."""
    lines = sorted((one.name, _plain(one)) for one in facts)
    compress = zstandard.ZstdCompressor(level=3).compress
    starts = range(0, len(lines), _TOGETHER)
    parts = [
        compress("\n".join(json.dumps(line) for _, line in lines[at : at + _TOGETHER]).encode())
        for at in starts
    ]
    return {
        _PREFIX + "first": pack("\0".join(lines[at][0] for at in starts).encode()),
        _PREFIX + "sizes": pack_words(array("I", map(len, parts))),
        _PREFIX + "parts": b"".join(parts),
    }


class FactStore:
    """The facts of the functions in ``catalog``, whose symbols are ``symbols``."""

    def __init__(self, catalog: Catalog, symbols: SymbolTable) -> None:
        self._catalog = catalog
        self._symbols = symbols
        self._part = lru_cache(maxsize=128)(self._unpack)

    def names(self) -> list[str]:
        """All functions that are known of."""
        return [name for part in range(len(self._first)) for name in self._part(part)]

    def facts_of_all(self) -> Iterator[FunctionFacts]:
        """The facts of each of :meth:`names`."""
        for part in range(len(self._first)):
            yield from map(self._facts, self._part(part).values())

    def facts(self, name: str) -> FunctionFacts:
        """What became of the function ``name``."""
        index = bisect_right(self._first, name) - 1
        plain = self._part(index).get(name) if index >= 0 else None
        if plain is None:
            return FunctionFacts(name, inlining=Inlining.GONE, certainty="likely")
        return self._facts(plain)

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

    def _unpack(self, index: int) -> dict[str, dict[str, Any]]:
        def read() -> dict[str, dict[str, Any]]:
            text = unpack(self._parts[index], limit=_LARGEST_PART).decode()
            return {line["name"]: line for line in map(json.loads, text.split("\n"))}

        return self._read(read)

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
    values = {field.name: getattr(facts, field.name) for field in _FIELDS}
    plain = {name: value for name, value in values.items() if value != _USUAL[name]}
    plain["symbols"] = [symbol.address for symbol in facts.symbols]
    plain["clones"] = [[one.symbol.name, one.symbol.address, one.kind] for one in facts.clones]
    plain["inlining"] = facts.inlining.name
    plain["inlined_into"] = [[at.caller, at.file, at.line, at.address] for at in facts.inlined_into]
    plain["evidence"] = [[one.text, one.found_by, one.certainty] for one in facts.evidence]
    return {name: value for name, value in plain.items() if value not in ([], ())}


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
