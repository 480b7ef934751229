"""``FetchType``: how a fetched value is stored and shown (kernel/trace/trace_probe.c)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FETCH_TYPES", "FetchType"]


@dataclass(frozen=True)
class FetchType:
    """The type of one argument.

    Attributes:
        name: As kernels call it: u8 to x64, char, symbol, string, ustring, symstr. A bit field has
            the name of what it lies in: u8, u16, u32 or u64. A ``string`` at the end of ``+u0(``
            is user space's, too.
        bits: The size of a value, or of an array's element, in the record: 32 for strings, whose
            ``__data_loc`` that is.
        format: The type of the field in the ``format`` file.
        signed: Whether it is a signed number there, and is shown as one.
        bitfield: Its width and its offset, in bits; ``None`` for all else.
        count: The number of an array's elements; ``None``: it is no array.
    """

    name: str
    bits: int
    format: str
    signed: bool = False
    bitfield: tuple[int, int] | None = None
    count: int | None = None

    @property
    def size(self) -> int:
        """Bytes in the record, those of all elements."""
        return self.bits // 8 * (self.count or 1)

    @property
    def is_string(self) -> bool:
        """Whether the record has a ``__data_loc`` of a string for it."""
        return self.name in ("string", "ustring", "symstr")


def _numbers() -> dict[str, FetchType]:
    found = {}
    for bits in (8, 16, 32, 64):
        found[f"u{bits}"] = FetchType(f"u{bits}", bits, f"u{bits}")
        found[f"s{bits}"] = FetchType(f"s{bits}", bits, f"s{bits}", signed=True)
        found[f"x{bits}"] = FetchType(f"x{bits}", bits, f"u{bits}")
    return found


#: Each plain type by its name.
FETCH_TYPES: dict[str, FetchType] = {
    "string": FetchType("string", 32, "__data_loc char[]", signed=True),
    "ustring": FetchType("ustring", 32, "__data_loc char[]", signed=True),
    "symstr": FetchType("symstr", 32, "__data_loc char[]", signed=True),
    **_numbers(),
    "char": FetchType("char", 8, "u8"),
    "symbol": FetchType("symbol", 64, "u64"),
}
