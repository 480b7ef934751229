"""Flattened device trees, written (Devicetree Specification 0.4, chapter 5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Node", "Value", "flatten"]

_MAGIC, _VERSION, _COMPATIBLE = 0xD00DFEED, 17, 16
_BEGIN_NODE, _END_NODE, _PROP, _END = 1, 2, 3, 9
_HEADER_SIZE = 40
_RESERVATIONS = bytes(16)  # none, and the end of them

Value: TypeAlias = int | str | bytes | Sequence[int] | Sequence[str] | None
"""A cell, a string, bytes, cells, strings, or an empty property."""
Node: TypeAlias = "dict[str, Value | Node]"
"""Properties and, where the value is a dict, nodes, by name, in order."""


def flatten(root: Node) -> bytes:
    """The blob of the tree whose root node is ``root``."""
    strings = bytearray()
    places: dict[str, int] = {}

    def name_at(name: str) -> int:
        if name not in places:
            places[name] = len(strings)
            strings.extend(name.encode() + b"\0")
        return places[name]

    def node(name: str, content: Node) -> bytes:
        out = bytearray(struct.pack(">I", _BEGIN_NODE) + _padded(name.encode() + b"\0"))
        children = []
        for key, value in content.items():
            if isinstance(value, dict):
                children.append(node(key, value))
                continue
            data = _encode(value)
            out += struct.pack(">III", _PROP, len(data), name_at(key)) + _padded(data)
        return bytes(out) + b"".join(children) + struct.pack(">I", _END_NODE)

    structure = node("", root) + struct.pack(">I", _END)
    structure_at = _HEADER_SIZE + len(_RESERVATIONS)
    strings_at = structure_at + len(structure)
    header = struct.pack(
        ">10I",
        *(_MAGIC, strings_at + len(strings), structure_at, strings_at, _HEADER_SIZE),
        *(_VERSION, _COMPATIBLE, 0, len(strings), len(structure)),
    )
    return header + _RESERVATIONS + structure + bytes(strings)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _encode(value: Value) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return struct.pack(">I", value)
    if isinstance(value, str):
        return value.encode() + b"\0"
    return b"".join(_encode(item) for item in value)
