"""The columns of a catalogue. Each row is a record of one kind, and fills the columns of that kind.

docs/catalogues.md explains them to those who query.
"""

from __future__ import annotations

from typing import Any

from kprobesim.extras import needed

__all__ = ["COLUMNS", "FORMAT", "RECORDS", "schema"]

FORMAT = 2
"""What is written; a newer one is refused."""

#: Name and type of each column; ``label`` is text of which there are few different ones.
COLUMNS: dict[str, str] = {
    "record": "label",
    "kernel": "label",
    "arch": "label",
    "module": "label",
    "name": "text",
    "address": "uint64",
    "size": "uint64",
    # functions
    "accepted": "bool",
    "kind": "label",
    "errno": "int32",
    "reason": "label",
    "traceable": "bool",
    "emulated": "label",
    "twins": "int32",
    "prototype": "text",
    "changed_signature": "bool",
    "lost_arguments": "numbers",
    "inlining": "label",
    "inlined_into": "texts",
    "callers": "texts",
    "tail_called_only": "bool",
    "clones": "texts",
    "found_by": "label",
    "certainty": "label",
    "error_injection": "label",
    # symbols
    "letter": "label",
    # types, members, enumerators
    "owner": "text",
    "type": "text",
    "offset": "uint32",
    "bit_offset": "uint32",
    "bits": "uint32",
    "value": "number",
    # tracepoints, options, the kernel itself
    "system": "label",
    "text": "text",
    # sections
    "data": "bytes",
}

#: Which columns each kind of record fills, but ``record``, ``kernel`` and ``arch``, which all do.
RECORDS: dict[str, tuple[str, ...]] = {
    "kernel": ("name", "text"),
    "function": (
        "module",
        "name",
        "address",
        "size",
        "accepted",
        "kind",
        "errno",
        "reason",
        "traceable",
        "emulated",
        "twins",
        "prototype",
        "changed_signature",
        "lost_arguments",
        "inlining",
        "inlined_into",
        "callers",
        "tail_called_only",
        "clones",
        "found_by",
        "certainty",
        "error_injection",
    ),
    "symbol": ("module", "name", "address", "size", "letter"),
    "type": ("module", "name", "kind", "size", "type"),
    "member": ("module", "owner", "name", "type", "offset", "bit_offset", "bits", "size"),
    "enumerator": ("module", "owner", "name", "value"),
    "tracepoint": ("system", "name"),
    "option": ("name", "text"),
    "section": ("name", "size", "data"),
}


def schema() -> Any:
    """The columns as pyarrow wants them.

    Raises:
        UsageError: pyarrow is not installed.
    """
    pa = needed("pyarrow", "catalog")
    types = {
        "label": pa.dictionary(pa.int32(), pa.string()),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "numbers": pa.list_(pa.int32()),
        "number": pa.decimal128(20, 0),
        "bytes": pa.binary(),
        "bool": pa.bool_(),
        "int32": pa.int32(),
        "uint32": pa.uint32(),
        "uint64": pa.uint64(),
    }
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
