"""A list in JSON: texts or objects with a symbol, or lines of objects as ``check`` prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.sources.names import read_place, want_point
from kprobesim.sources.places import Point, parse_point
from kprobesim.sources.reading import Reading, shown

__all__ = ["is_json", "read_json"]

_JSON = re.compile(r"\s*(?:\[\s*[\"{\]\[]|\{\s*[\"}])")
_TARGETS = ("symbol", "function", "func", "name", "target", "call")
_MOST_OFFSET = 1 << 32


def is_json(text: str) -> bool:
    """Whether a text is a JSON list, or lines of JSON objects."""
    return _JSON.match(text) is not None


def read_json(text: str, reading: Reading) -> None:
    """Tell ``reading`` of each place in a JSON list, or in lines of JSON as of ``check``."""
    for line, value in _values(text, reading):
        for one in value if isinstance(value, list) else [value]:
            try:
                _read_value(one, line, reading)
            except UsageError as error:
                reading.problem(line, f"{shown(str(one))} is no place in a kernel: {error}")


def _values(text: str, reading: Reading) -> Iterator[tuple[int | None, Any]]:
    try:
        value = json.loads(text)
        if isinstance(value, dict) and not any(key in value for key in _TARGETS):
            lists = [one for one in value.values() if isinstance(one, list)]
            if len(lists) == 1:
                value = lists[0]  # {"probes": [...]}
        yield None, value
        return
    except (ValueError, RecursionError) as error:
        whole = error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for _, line in lines[:2]):
        line_number = getattr(whole, "lineno", None)
        reading.problem(line_number, f"is no JSON: {getattr(whole, 'msg', 'nested too deeply')}")
        return
    for number, line in lines:
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            reading.problem(number, f"is no JSON: {getattr(error, 'msg', 'nested too deeply')}")


def _read_value(value: Any, line: int | None, reading: Reading) -> None:
    if isinstance(value, str):
        read_place(value.strip(), line or 1, reading)
        return
    if not isinstance(value, dict):
        raise UsageError('write "vfs_read+4" or {"symbol": "vfs_read", "offset": 4}')
    names = [value[key] for key in _TARGETS if isinstance(value.get(key), str)]
    offset = value.get("offset") or 0
    if isinstance(offset, str):
        offset = parse_point(f"x+{offset}", octal=False).offset
    if not names:
        raise UsageError('it has no "symbol"')
    if type(offset) is not int or not 0 <= offset < _MOST_OFFSET:
        raise UsageError("its offset is no number of 32 bits")
    point = parse_point(names[0], octal=False)
    module = value.get("module")
    point = Point(
        point.symbol,
        point.offset + offset,
        module if isinstance(module, str) and module else point.module,
        point.address,
    )
    text = f"{names[0]}+{offset:#x}" if offset else names[0]
    want_point(reading, text, line, point)
