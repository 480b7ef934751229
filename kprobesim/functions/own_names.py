"""``OwnNames``: functions whose code speaks of itself, by ``__func__``.

A function that warns or logs often names itself: ``__func__`` is then an array that the compiler
makes for it, and with CONFIG_KALLSYMS_ALL the kernel has a symbol ``__func__.N`` there. Code that
takes the address of that array is a copy of that function, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from kprobesim.functions.clones import split_clone
from kprobesim.functions.code import Code

__all__ = ["OwnNames"]

_STRING = re.compile(rb"\0([A-Za-z_][A-Za-z0-9_.]*)(?=\0)")


class OwnNames:
    """What the functions in ``code`` call themselves."""

    def __init__(self, code: Code) -> None:
        self._code = code

    @cached_property
    def compiled(self) -> frozenset[str]:
        """The functions of which there is some code, as far as they have such an array."""
        return frozenset(self._code.own_names.values())

    @cached_property
    def _holders(self) -> Mapping[str, Mapping[str, int]]:
        """By function, the symbols whose code takes its name's address, and where first."""
        found: dict[str, dict[str, int]] = {}
        arrays = self._code.own_names
        if self._code.shows_constants:
            for site, address in zip(*self._code.references, strict=True):
                function = arrays.get(address)
                holder = self._code.caller_at(site) if function is not None else None
                if function is not None and holder is not None:
                    found.setdefault(function, {}).setdefault(holder, site)
        return found

    def copies(self, function: str) -> Iterator[tuple[str, int]]:
        """The other functions that hold a copy of ``function``, and an address in it."""
        for holder, site in self._holders.get(function, {}).items():
            if split_clone(holder)[0] != function:
                yield holder, site

    def is_a_string(self, name: str) -> bool:
        """Whether the kernel's constants have that very string; its types do not count."""
        return name.encode("utf-8", "surrogateescape") in self.strings

    @cached_property
    def strings(self) -> frozenset[bytes]:
        """All strings among the kernel's constants that could be a function's name."""
        part = self._code.part
        types = b"" if part.btf is None else part.btf.data
        found: set[bytes] = set()
        for region in part.regions:
            if region.kind != "text":
                for segment in part.segments:
                    piece = segment.part(region.start, region.end)
                    if piece is not None:
                        before, after = _around(bytes(piece.data), types)
                        found.update(_STRING.findall(before), _STRING.findall(after))
        return frozenset(found)


def _around(data: bytes, types: bytes) -> tuple[bytes, bytes]:
    """What is before and behind ``types`` in ``data``; all of it, if they are not there."""
    before, _, after = data.partition(types) if types else (data, b"", b"")
    return before, after
