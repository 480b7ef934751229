"""Addresses that x86-64 code takes: operands that name a place instead of branching there."""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Iterator

from kprobesim.sizes import MASK64

__all__ = ["find_references"]

#: An address of the kernel's in 32 bits, which are sign-extended.
_HIGH = rb"(?=...[\x80-\xff])"
#: MOV r64, imm32 and LEA r64, [rip + disp32], over at most 64 MB.
_REGISTER = re.compile(
    rb"[\x48\x49]\xc7[\xc0-\xc7]"
    + _HIGH
    + rb"|[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](?=...[\x00-\x03\xfc-\xff])",
    re.DOTALL,
)
#: MOV m64, imm32, with and without SIB and displacement; PUSH imm32.
_MEMORY = re.compile(
    rb"(?:[\x48-\x4b]\xc7(?:[\x00-\x03\x06\x07]|(?:\x04|[\x40-\x43\x45-\x47])."
    rb"|\x44..|[\x05\x80-\x83\x85-\x87]....|\x84.....)|\x68)" + _HIGH,
    re.DOTALL,
)
_LEA = 0x8D


def find_references(text: bytes, base: int, wanted: Container[int]) -> Iterator[tuple[int, int]]:
    """``(site, address)`` of each place in ``text`` that takes one of the ``wanted`` addresses.

    Bytes that look like such an instruction and name a wanted address are one (see branches.py).
    """
    word = struct.Struct("<i").unpack_from
    most = len(text) - 4
    for match in _REGISTER.finditer(text):
        end = match.end()
        if end > most:
            break
        address = word(text, end)[0]
        if text[end - 2] == _LEA:
            address += base + end + 4
        if address & MASK64 in wanted:
            yield base + match.start(), address & MASK64
    for match in _MEMORY.finditer(text):
        end = match.end()
        if end > most:
            break
        address = word(text, end)[0] & MASK64
        if address in wanted:
            yield base + match.start(), address
