"""A file of definitions, or a shell script that writes them with ``echo``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from kprobesim.dynevent.error import ProbeEventError
from kprobesim.sources.kprobe_events.definition import parse_definition, told
from kprobesim.sources.kprobe_events.events import Events
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.text import MAX_LINE

__all__ = ["is_definition", "is_echo", "read_kprobe_events"]

_FILES = re.compile(
    r">\s*\S*(kprobe_events|dynamic_events)\b|tee\b.*(kprobe_events|dynamic_events)"
)
_ANEW = re.compile(r"(?<![>0-9])>\s*\S*(kprobe_events|dynamic_events)\b")
_BOOT = re.compile(r"\bkprobe_event=(\S+)")
_FIRST = re.compile(
    r"([pf]|r[0-9-]*|[te])(:[\w./-]*)?\s+[\w.:$+*%-]+(\s.*)?|-:[\w./-]+.*|[prfte-]:[\w./-]+(\s.*)?"
)
_MOST_LINE = 4094
_OF_PROGRAMS = re.compile(r"[pr]\S*\s+[^\s:]*/[^\s:]*:")  # PATH:OFFSET
_PASSED = {"s": "a synthetic event", "u": "a user event", "x": "a user event"}


def is_definition(line: str) -> bool:
    """Whether a line looks like one, or like the boot loader's parameter."""
    return bool(_FIRST.fullmatch(line.strip()) or _BOOT.search(line))


def is_echo(line: str) -> bool:
    """Whether a line of a shell's writes one."""
    return _FILES.search(line) is not None


def read_kprobe_events(text: str, reading: Reading) -> None:
    """Tell ``reading`` of each definition in ``text``."""
    events = Events()
    lines = text.split("\n")
    is_script = any(_FILES.search(line) for line in lines if len(line) <= MAX_LINE)
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            reading.problem(number, "is too long: a definition has at most 4094 characters")
            continue
        if is_script:
            written = _echoed(line)
            if _ANEW.search(line):
                events.clear()
        elif boot := _BOOT.search(line):
            written = iter(boot[1].replace(",", " ").split(";"))
        else:
            written = iter([line])
        for one in written:
            _read_line(one.partition("#")[0].strip(), number, reading, events)


def _echoed(line: str) -> Iterator[str]:
    """The words that a line of a shell script writes into a file of events."""
    if not _FILES.search(line):
        return
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.replace("'", " ").replace('"', " ").split()
    if "-c" in words[:-1]:  # sudo sh -c "echo ... > kprobe_events"
        yield from _echoed(words[words.index("-c") + 1])
        return
    while words and words[0] in ("sudo", "echo", "printf", "-n", "-e"):
        words.pop(0)
    kept = []
    for word in words:
        if word.startswith((">", "|", "1>")):
            break
        kept.append(word)
    for one in " ".join(kept).replace("\\n", "\n").split("\n"):
        yield one.partition(">")[0]


def _read_line(line: str, number: int, reading: Reading, events: Events) -> None:
    if not line:
        return
    if line[0] in "-!":
        reading.note(number, "removes an event")
        events.remove(line)
        return
    if line[0] in _PASSED and re.match(r"[sux](:|\s)", line):
        reading.note(number, f"{_PASSED[line[0]]}: no function of the kernel's")
        return
    if _OF_PROGRAMS.match(line):
        reading.note(number, "a probe of a program (uprobe): no function of the kernel's")
        return
    if len(line) > _MOST_LINE:
        reading.problem(number, f"a definition has at most {_MOST_LINE} characters")
        return
    try:
        found = parse_definition(line)
        events.add(found.parsed)
    except ProbeEventError as error:
        where = f"at column {error.column + 1}: " if error.column else ""
        reading.problem(number, f"{shown(line)}: {where}{told(error)}", error.column + 1)
        return
    probe = found.parsed
    reading.want(
        line,
        number,
        found.interface,
        probe.symbol or "",
        offset=probe.offset,
        address=probe.address,
        module=probe.module,
        returns=probe.returns,
        arguments=found.arguments,
        program=found.event,
        definition=line if probe.kind in ("p", "r") else None,
    )
