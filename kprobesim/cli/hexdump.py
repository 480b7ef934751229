"""Memory as people like to see it: address, sixteen bytes in hex, and their characters."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["hexdump"]

_WIDTH = 16


def hexdump(data: bytes, address: int = 0) -> Iterator[str]:
    """Dump ``data`` line by line; repeated lines become one ``*``, as the command does it."""
    before, starred = b"", False
    for at in range(0, len(data), _WIDTH):
        row = data[at : at + _WIDTH]
        if row == before and at + _WIDTH < len(data):
            if not starred:
                yield "*"
            starred = True
            continue
        before, starred = row, False
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{address + at:016x}  {row.hex(' '):<{3 * _WIDTH - 1}}  |{characters}|"
