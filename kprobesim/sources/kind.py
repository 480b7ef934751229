"""What a text is, told from what stands in it, then from its name, then from its lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from kprobesim.sources.bcc.commands import is_command
from kprobesim.sources.bcc.reader import is_bcc
from kprobesim.sources.bpftrace.reader import is_bpftrace, is_one_liner
from kprobesim.sources.c_source import is_c_source
from kprobesim.sources.json_list import is_json
from kprobesim.sources.kprobe_events.reader import is_definition, is_echo
from kprobesim.sources.names import is_name
from kprobesim.sources.perf_probe import is_perf_command, is_perf_probe
from kprobesim.sources.tetragon.policy import is_tetragon
from kprobesim.sources.text import MAX_LINE
from kprobesim.sources.wanted import SourceKind

__all__ = ["kind_of"]

_SUFFIXES = {".bt": SourceKind.BPFTRACE}
# What a shell script calls, and what a line of a list looks like, the simplest first.
_CALLS: dict[SourceKind, Callable[[str], bool]] = {
    SourceKind.BPFTRACE: is_one_liner,
    SourceKind.KPROBE_EVENTS: is_echo,
    SourceKind.PERF_PROBE: is_perf_command,
    SourceKind.BCC: is_command,
}
_LINES: dict[SourceKind, Callable[[str], bool]] = {
    SourceKind.NAMES: is_name,
    SourceKind.KPROBE_EVENTS: is_definition,
    SourceKind.PERF_PROBE: is_perf_probe,
}
_SAMPLE = 200  # lines that are looked at to tell a list's kind


def kind_of(text: str, path: Path) -> SourceKind:
    """What a text is: what it says of itself comes first, then its name, then its lines."""
    if is_tetragon(text):
        return SourceKind.TETRAGON
    if is_bcc(text, path):
        return SourceKind.BCC
    if is_c_source(text, path):
        return SourceKind.C_SOURCE
    if is_bpftrace(text):
        return SourceKind.BPFTRACE
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if is_json(text):
        return SourceKind.NAMES
    lines = [line[:MAX_LINE] for line in text.split("\n", 10 * _SAMPLE) if line.strip()]
    lines = [line for line in lines if not re.match(r"\s*(#|//)", line)][:_SAMPLE]
    for kind, calls in _CALLS.items():
        if any(map(calls, lines)):
            return kind
    counts = {kind: sum(map(is_one, lines)) for kind, is_one in _LINES.items()}
    best = max(counts, key=lambda kind: counts[kind])
    if not lines:
        return SourceKind.NAMES
    # Scripts and prose have lines of any kind, too, but seldom begin with one.
    enough = len(lines) / 2 if _LINES[best](lines[0]) else 3 * len(lines) / 4
    return best if counts[best] >= enough and not text.startswith("#!") else SourceKind.UNKNOWN
