"""Writes kallsyms tables in every layout that kernels have had."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """One kernel's way to write the table."""

    name: str
    addresses_last: bool
    order: str  # "", "before" or "after" the tokens
    addressing: str  # "absolute", "relative", "signed" or "place"
    two_byte_lengths: bool
    align: int = 8
    word: str = "I"  # of the number and the markers: "Q" up to 4.19


LAYOUTS = (
    Layout("4.4-absolute", False, "", "absolute", False, word="Q"),
    Layout("4.19-arm64", False, "", "relative", False, word="Q"),
    Layout("4.19-x86", False, "", "signed", False, word="Q"),
    Layout("5.10-absolute", False, "", "absolute", False),
    Layout("5.10-arm64", False, "", "relative", False),
    Layout("5.10-x86", False, "", "signed", False),
    Layout("6.1-arm64", False, "", "relative", True),
    Layout("6.1-x86-order", False, "before", "signed", True),
    Layout("6.2-arm64", False, "before", "relative", True),
    Layout("6.4-absolute", True, "after", "absolute", True),
    Layout("6.12-arm64", True, "after", "relative", True),
    Layout("6.12-x86", True, "after", "signed", True),
    Layout("6.16-x86", True, "after", "relative", True),
    Layout("7.0", True, "after", "place", True, 4),
)

Entry = tuple[str, str, int]  # letter, name, address


def make_tokens(names: list[bytes]) -> list[bytes]:
    """256 tokens: the bytes in use (digits always) for themselves, frequent pairs for the rest."""
    used = {byte for name in names for byte in name} | set(b"0123456789")
    tokens = [bytes([code]) if code in used else b"" for code in range(256)]
    pairs = Counter(name[i : i + n] for name in names for n in (2, 3, 5) for i in range(len(name)))
    spare = [code for code in range(256) if not tokens[code]]
    frequent = (pair for pair, _ in pairs.most_common() if len(pair) > 1)
    for code, pair in zip(spare, frequent, strict=False):
        tokens[code] = pair
    return tokens


def compress(name: bytes, by_token: dict[bytes, int]) -> bytes:
    codes = bytearray()
    at = 0
    while at < len(name):
        size = next(
            n for n in (5, 3, 2, 1) if name[at : at + n] in by_token and at + n <= len(name)
        )
        codes.append(by_token[name[at : at + size]])
        at += size
    return bytes(codes)


def make_kallsyms(
    layout: Layout, entries: list[Entry], vaddr: int, base: int, *, lead: bytes = b""
) -> bytes:
    """The bytes at ``vaddr``: ``lead``, then the table. ``entries`` are in the table's order."""
    names = [(letter + name).encode() for letter, name, _ in entries]
    tokens = make_tokens(names)
    by_token = {token: code for code, token in enumerate(tokens) if token}
    out = bytearray(lead)

    def align(to: int = layout.align) -> None:
        out.extend(bytes(-len(out) % to))

    def write_addresses() -> None:
        align()
        for i, (_, _, address) in enumerate(entries):
            if layout.addressing == "absolute":
                out.extend(struct.pack("<Q", address))
            elif layout.addressing == "relative":
                out.extend(struct.pack("<I", address - base))
            elif layout.addressing == "signed":
                # x86 per-CPU offsets and absolute numbers are written as they are.
                value = address if address < 1 << 31 else base - 1 - address
                out.extend(struct.pack("<i", value))
            else:
                out.extend(struct.pack("<i", address - (vaddr + len(out))))
            assert i < len(entries)
        if layout.addressing in ("relative", "signed"):
            align()
            out.extend(struct.pack("<Q", base))

    def write_order() -> None:
        align()
        for i in sorted(range(len(entries)), key=lambda i: entries[i][1]):
            out.extend(i.to_bytes(3, "big"))

    if not layout.addresses_last:
        write_addresses()
    align()
    out.extend(struct.pack(f"<{layout.word}", len(entries)))
    align()
    start = len(out)
    markers = []
    for i, name in enumerate(names):
        if i % 256 == 0:
            markers.append(len(out) - start)
        codes = compress(name, by_token)
        if len(codes) < 128 or not layout.two_byte_lengths:
            out.append(len(codes))
        else:
            out.extend((len(codes) & 0x7F | 0x80, len(codes) >> 7))
        out.extend(codes)
    align()
    for marker in markers:
        out.extend(struct.pack(f"<{layout.word}", marker))
    if layout.order == "before":
        write_order()
    align()
    index = []
    table = len(out)
    for token in tokens:
        index.append(len(out) - table)
        out.extend(token + b"\0")
    align()
    out.extend(struct.pack("<256H", *index))
    if layout.addresses_last:
        write_addresses()
    if layout.order == "after":
        write_order()
    align(8)
    return bytes(out)
