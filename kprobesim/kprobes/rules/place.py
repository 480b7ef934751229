"""Places in a kernel as people write them: SYMBOL, SYMBOL+OFFSET, 0xADDRESS."""

from __future__ import annotations

import re

from kprobesim.errors import UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["Place", "parse_place"]

# An oops prints symbol+0x10/0x40: the size behind the slash may stay.
_PLACE = re.compile(
    r"@?(?P<address>0[xX][0-9a-fA-F]{1,16})"
    r"|(?P<symbol>(?:[^-\s+/@0-9]|\[\S+?\])(?:\[\S+?\]|[^-\s+/@])*(?:@0[xX][0-9a-fA-F]{1,16})?)"
    r"(?:\+(?P<offset>0[xX][0-9a-fA-F]{1,16}|[0-9]{1,18})(?:/0[xX][0-9a-fA-F]+)?)?"
)


@dataclass(frozen=True, repr=False)
class Place(HexRepr):
    """What somebody asks for.

    Attributes:
        text: What was written.
        symbol: The symbol's name, perhaps ``MODULE:SYMBOL`` or ``SYMBOL@0xADDRESS``; else ``None``.
        offset: Bytes from the symbol.
        address: The address instead of a symbol; else ``None``.
    """

    text: str
    symbol: str | None
    offset: int
    address: int | None


def parse_place(text: str) -> Place:
    """Read SYMBOL, SYMBOL@0xADDRESS, SYMBOL+OFFSET or 0xADDRESS.

    Raises:
        UsageError: It is none of these.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text!r} is no place in a kernel: write SYMBOL, SYMBOL+0x10, SYMBOL+16 or 0xADDRESS"
        )
    address, offset = found["address"], found["offset"] or "0"
    return Place(
        text,
        found["symbol"],
        int(offset, 16 if offset[:2] in ("0x", "0X") else 10),
        int(address, 16) if address else None,
    )
