"""The WARN()s of a guest that handles them itself: read from its console, where it tells of them.

``__warn()`` (kernel/panic.c) prints "WARNING: CPU: 0 PID: 1 at FILE:LINE SYMBOL+0x..", since 6.18
"WARNING: FILE:LINE at SYMBOL+0x.., CPU#0: ..", and a call trace behind "Call Trace:" (x86-64) or
"Call trace:" (ARM64).
"""

from __future__ import annotations

import re

from kprobesim.image import SymbolTable
from kprobesim.unbooted.trap_tables import GuestWarning

__all__ = ["console_warnings"]

_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^\]]*\])? ?")
_WARNING = (
    re.compile(r"WARNING: CPU: \d+ PID: \d+ at (?:(?P<file>\S+):(?P<line>\d+) )?(?P<place>\S+)"),
    re.compile(r"WARNING: (?P<file>\S+):(?P<line>\d+) at (?P<place>[^\s,]+)"),
)
_TRACE = re.compile(r"Call [Tt]race:$")
_END = re.compile(r"---\[ end trace")
_ENTRY = re.compile(r" (\? )?([A-Za-z_.$][\w.$]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?)")
_PLACE = re.compile(r"(?P<name>[^+]+)\+(?P<offset>0x[0-9a-f]+)")


def console_warnings(text: str, symbols: SymbolTable) -> list[GuestWarning]:
    """The warnings that the console output ``text`` tells of, the oldest first."""
    found: list[GuestWarning] = []
    head: re.Match[str] | None = None
    trace: list[str] = []
    in_trace = False
    for line in map(_without_stamp, [*text.splitlines(), "---[ end trace"]):
        start = next(filter(None, (pattern.match(line) for pattern in _WARNING)), None)
        if head is not None and (start is not None or _END.match(line)):
            found.append(_warning(head, trace, symbols))
            head, in_trace = None, False
        if start is not None:
            head, trace, in_trace = start, [], False
        elif _TRACE.search(line):
            in_trace = True
        elif in_trace and (entry := _ENTRY.match(line)):
            trace.append((entry[1] or "") + entry[2])
    return found


def _without_stamp(line: str) -> str:
    return _STAMP.sub("", line.rstrip())


def _warning(head: re.Match[str], trace: list[str], symbols: SymbolTable) -> GuestWarning:
    place = head["place"]
    parts = _PLACE.match(place)
    candidates = symbols.candidates(parts["name"]) if parts else []
    address = candidates[0].address + int(parts["offset"], 16) if parts and candidates else 0
    line = int(head["line"]) if head["line"] else 0
    return GuestWarning(head["file"], line, address, place, tuple(trace))
