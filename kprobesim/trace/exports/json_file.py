"""JSON: one document, an entry a line; docs/trace.schema.json says what is in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, Export, ProfileRow
from kprobesim.trace.frames import SourceFrame

__all__ = ["JsonFile"]

_FORMAT, _VERSION = "kprobesim-trace", 1


class JsonFile(Export):
    """The document."""

    def __init__(self, file: IO[Any], about: About) -> None:
        self._file, self._names = file, about.names
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "kernel": {"release": about.release, "arch": about.arch},
            "definitions": list(about.definitions),
        }
        file.write(_text(head)[:-1] + ', "entries": [')
        self._before = "\n"

    def add(self, entry: TraceEntry) -> None:
        row: dict[str, Any] = {
            "time": entry.time,
            "cpu": entry.cpu,
            "pid": entry.pid,
            "tgid": entry.tgid,
            "comm": entry.comm,
            "flags": entry.flags,
            "preempt_count": entry.preempt_count,
            "event": entry.event,
            "ip": hex(entry.ip),
            "func": None if entry.func is None else hex(entry.func),
            "fields": dict(entry.fields),
        }
        if entry.stack is not None:
            row["stack"] = [_frame(frame) for frame in self._names.of(entry)]
        self._file.write(self._before + _text(row))
        self._before = ",\n"

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        rows = [{"event": r.event, "hits": r.hits, "misses": r.misses} for r in profile]
        self._file.write(f'\n], "profile": {_text(rows)}, "lost": {lost}}}\n')


def _frame(frame: SourceFrame) -> dict[str, Any]:
    found: dict[str, Any] = {
        "function": frame.function,
        "address": hex(frame.address),
        "place": frame.place,
        "inlined": frame.inlined,
    }
    if frame.file:
        found |= {"file": frame.file, "line": frame.line}
    return found


def _text(data: object) -> str:
    return json.dumps(data, ensure_ascii=False)
