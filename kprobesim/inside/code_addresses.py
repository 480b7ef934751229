"""Addresses that a function hands on: how kernels without CONFIG_KALLSYMS_ALL tell where data are.

Such kernels name functions only. But a function that begins with a call loads what it passes as the
first argument, and the address of a static variable is such a thing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.sizes import MASK64

__all__ = ["handed_on"]

_BYTES = 128
_X86_ADDRESS = re.compile(rb"(?s)\x48\xc7\xc7(?P<direct>.{4})|\x48\x8d\x3d(?P<relative>.{4})")


def handed_on(image: KernelImage, function: str, size: int = _BYTES) -> list[int]:
    """The addresses that the first ``size`` bytes of ``function`` make, of all of that name."""
    find = _ADDRESSES[image.arch]
    return [
        address
        for symbol in image.symbols.candidates(function)
        for address in find(image.read(symbol.address, size), symbol.address)
    ]


def _x86_addresses(code: bytes, start: int) -> Iterator[int]:
    """What is put into RDI, as it is or relative to RIP."""
    for match in _X86_ADDRESS.finditer(code):
        word = match["direct"] or match["relative"]
        (value,) = struct.unpack("<i", word)
        yield (value if match["direct"] else start + match.end() + value) & MASK64


def _arm64_addresses(code: bytes, start: int) -> Iterator[int]:
    """What ADRP and the ADDs behind it make, and where LDR loads from: a list's head is loaded."""
    made: dict[int, int] = {}
    for index, (word,) in enumerate(struct.iter_unpack("<I", code)):
        rd, rn = word & 31, word >> 5 & 31
        if word & 0x9F00_0000 == 0x9000_0000:
            distance = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            distance -= (distance & 1 << 20) << 1
            made[rd] = (start + 4 * index & ~0xFFF) + (distance << 12)
        elif word & 0xFFC0_0000 == 0x9100_0000 and rn in made:
            made[rd] = made[rn] + (word >> 10 & 0xFFF)
            yield made[rd] & MASK64
        elif word & 0xFFE0_FFE0 == 0xAA00_03E0 and word >> 16 & 31 in made:  # MOV
            made[rd] = made[word >> 16 & 31]
        elif word & 0xFFC0_0000 == 0xF940_0000 and rn in made:  # LDR
            yield made[rn] + 8 * (word >> 10 & 0xFFF) & MASK64
        elif word & 0xFFE0_0C00 == 0xF840_0C00 and rn in made:  # LDR, which moves its base first
            made[rn] += ((word >> 12 & 0x1FF) ^ 0x100) - 0x100
            yield made[rn] & MASK64


_ADDRESSES: Mapping[str, Callable[[bytes, int], Iterator[int]]] = halves(
    x86_64=_x86_addresses, arm64=_arm64_addresses
)
