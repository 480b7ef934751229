"""Addresses that ARM64 code takes: ADRP with the ADD that completes it, and ADR."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from kprobesim.arch.arm64.insn import adr_displacement

__all__ = ["find_references"]

#: The highest byte of a word of ADR and ADRP.
_ADR = re.compile(rb"[\x10\x30\x50\x70\x90\xb0\xd0\xf0]", re.DOTALL)
_ADD_IMMEDIATE = 0x244  # ADD Xd, Xn, #imm12, not shifted: bits 31..22
#: How far behind its ADRP a compiler puts the ADD.
_REACH = 12


def find_references(text: bytes, base: int, wanted: Container[int]) -> Iterator[tuple[int, int]]:
    """``(site, address)`` of each place in ``text`` that takes one of the ``wanted`` addresses."""
    words = memoryview(text[: len(text) & ~3]).cast("I")
    count = len(words)
    for match in _ADR.finditer(text[3::4]):
        index = match.start()
        word = words[index]
        site = base + 4 * index
        if not word >> 31:
            address = site + adr_displacement(word)
            if address in wanted:
                yield site, address
            continue
        page = (site & ~0xFFF) + (adr_displacement(word) << 12)
        register = word & 31
        for following in words[index + 1 : min(index + 1 + _REACH, count)]:
            if following >> 22 == _ADD_IMMEDIATE and following >> 5 & 31 == register:
                address = page + (following >> 10 & 0xFFF)
                if address in wanted:
                    yield site, address
            if following & 31 == register and following >> 24 in (0x91, 0x90, 0xB0, 0xD0, 0xF0):
                break  # the page is no longer in the register
