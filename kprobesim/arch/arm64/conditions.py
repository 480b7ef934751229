"""Which condition codes hold under which flags."""

from __future__ import annotations

__all__ = ["TAKEN", "holds"]


def _row(cond: int) -> tuple[bool, ...]:
    row = []
    for nzcv in range(16):
        n, z, c, v = (bool(nzcv >> bit & 1) for bit in (3, 2, 1, 0))
        base = (z, c, n, v, c and not z, n == v, n == v and not z, True)[cond >> 1]
        # The low bit inverts, except that "never" (15) means always, like 14.
        row.append(base != bool(cond & 1) or cond == 15)
    return tuple(row)


#: ``TAKEN[condition][NZCV]``: eq ne cs cc mi pl vs vc hi ls ge lt gt le al nv, flags N=8 .. V=1.
TAKEN = tuple(_row(cond) for cond in range(16))


def holds(cond: int, pstate: int) -> bool:
    """Whether the 4-bit condition ``cond`` holds under the NZCV flags (bits 31..28) of PSTATE."""
    return TAKEN[cond][pstate >> 28 & 0xF]
