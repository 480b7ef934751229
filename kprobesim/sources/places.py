"""``[MODULE:]SYMBOL[+OFFSET]`` and addresses, as all text sources write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.hexrepr import HexRepr

__all__ = ["GLOB", "Point", "parse_point", "parse_unsigned"]

#: What makes a name a pattern, as in a shell.
GLOB = re.compile(r"[*?\[]")

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_SYMBOL = re.compile(r"[A-Za-z_.$*?\[][\w.$*?\[\]!^-]*", re.ASCII)
_MODULE = re.compile(r"[\w*?\[\]-]+", re.ASCII)
_MOST_OFFSET = 1 << 32
_MOST_ADDRESS = 1 << 64


@dataclass(frozen=True, repr=False)
class Point(HexRepr):
    """A place in a kernel: ``symbol`` and ``offset``, perhaps in ``module``, or ``address``."""

    symbol: str
    offset: int = 0
    module: str | None = None
    address: int | None = None

    @property
    def pattern(self) -> bool:
        """Whether it stands for all functions whose names match."""
        return bool(GLOB.search(self.symbol) or GLOB.search(self.module or ""))


def parse_unsigned(text: str, *, octal: bool = True) -> int:
    """A number as C writes it; ``010`` is 8 for the kernel, and 10 for people (``octal=False``).

    Raises:
        UsageError: It is none.
    """
    if _NUMBER.fullmatch(text) is None or len(text) > 30:
        raise UsageError(f"{text[:40]!r} is no number: write 16 or 0x10")
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if octal and text[0] == "0" and text != "0":
        try:
            return int(text, 8)
        except ValueError:
            raise UsageError(
                f"{text!r} is no octal number, as its 0 says: leave that out"
            ) from None
    return int(text)


def parse_point(text: str, *, octal: bool = True) -> Point:
    """Read ``[MODULE:]SYMBOL[+OFFSET]`` or a number, which is an address.

    Raises:
        UsageError: It is none of these.
    """
    if _NUMBER.fullmatch(text):
        address = parse_unsigned(text, octal=octal)
        if address >= _MOST_ADDRESS:
            raise UsageError(f"{text[:40]} has more than 64 bits: it is no address")
        return Point("", address=address)
    module, colon, rest = text.rpartition(":")
    symbol, plus, number = rest.partition("+")
    if not symbol or _SYMBOL.fullmatch(symbol) is None:
        raise UsageError(f"{symbol[:60]!r} is no name of a function")
    if colon and _MODULE.fullmatch(module) is None:
        raise UsageError(f"{module[:60]!r} is no name of a module")
    offset = 0
    if plus:
        number = number.partition("/")[0]  # an oops prints symbol+0x10/0x40
        offset = parse_unsigned(number, octal=octal)
        if offset >= _MOST_OFFSET:
            raise UsageError(f"the offset {number[:40]} has more than 32 bits")
    return Point(symbol, offset, module or None)
