"""Any source: its kind told from what stands in it, then from its name, and read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from kprobesim.bpf.embedded import is_object
from kprobesim.errors import UsageError
from kprobesim.sources.bcc.reader import is_bcc, read_bcc
from kprobesim.sources.bpf_object import is_elf, read_object, read_objects
from kprobesim.sources.bpftrace.reader import (
    is_bpftrace,
    is_one_liner,
    read_bpftrace,
    read_one_liners,
)
from kprobesim.sources.c_source import is_c_source, read_c_source
from kprobesim.sources.kprobe_events.reader import is_definition, is_echo, read_kprobe_events
from kprobesim.sources.names import is_json, is_name, read_json, read_names
from kprobesim.sources.perf_probe import is_perf_command, is_perf_probe, read_perf_probe
from kprobesim.sources.reading import Reading
from kprobesim.sources.tetragon.reader import is_tetragon, read_tetragon
from kprobesim.sources.text import (
    MAX_LINE,
    MAX_SCRIPT,
    SourceError,
    decode,
    is_stream,
    printable,
    read_bytes,
)
from kprobesim.sources.wanted import Problem, Source, SourceKind

__all__ = ["read_source", "read_sources", "read_text"]

_Reader = Callable[[str, Reading], None]

_SUFFIXES = {
    ".bt": SourceKind.BPFTRACE,
}
_READERS: dict[SourceKind, _Reader] = {
    SourceKind.BPFTRACE: read_bpftrace,
    SourceKind.KPROBE_EVENTS: read_kprobe_events,
    SourceKind.C_SOURCE: read_c_source,
    SourceKind.BCC: read_bcc,
    SourceKind.NAMES: read_names,
    SourceKind.PERF_PROBE: read_perf_probe,
    SourceKind.TETRAGON: read_tetragon,
}
# What a shell script calls, and what a line of a list looks like, the simplest first.
_CALLS: dict[SourceKind, Callable[[str], bool]] = {
    SourceKind.BPFTRACE: is_one_liner,
    SourceKind.KPROBE_EVENTS: is_echo,
    SourceKind.PERF_PROBE: is_perf_command,
}
_LINES: dict[SourceKind, Callable[[str], bool]] = {
    SourceKind.NAMES: is_name,
    SourceKind.KPROBE_EVENTS: is_definition,
    SourceKind.PERF_PROBE: is_perf_probe,
}
_SCRIPTS = (SourceKind.BPFTRACE, SourceKind.TETRAGON, SourceKind.BCC)
_CERTAIN = (*_SCRIPTS, SourceKind.BPF_OBJECT)  # may have none
_HEAD = 64  # bytes that tell an eBPF object
_SAMPLE = 200  # lines that are looked at to tell a list's kind
_MOST_FILES = 10_000  # of a folder


def read_source(path: str | os.PathLike[str], kind: SourceKind | None = None) -> Source:
    """Read one file, or standard input (``-``); the first object of a file that carries several.

    Args:
        path: The file.
        kind: What it is, where its content leaves doubt.

    Returns:
        What it wants. A line that cannot be read is one of ``problems``, and so is a file that
        cannot be read at all; nothing is raised for them.
    """
    return _read(Path(path), kind)[0]


def _read(path: Path, kind: SourceKind | None) -> list[Source]:
    """The source in a file; several of an executable that carries several compiled objects."""
    found = SourceKind.UNKNOWN
    try:
        head = b"" if is_stream(path) else read_bytes(path, _HEAD)
        if is_elf(head):
            found = SourceKind.BPF_OBJECT if is_object(head) else found
            return read_objects(path)
        data = read_bytes(path)
        if is_elf(data):
            return [read_object(data, path)]
        return [read_text(decode(path, data), path, kind)]
    except SourceError as error:
        return [Source(path, found, problems=(Problem(None, printable(error.problem)),))]


def read_text(text: str, path: Path, kind: SourceKind | None = None) -> Source:
    """Read a source that is in memory; ``path`` is its name in answers."""
    known = kind or _kind(text, path)
    reading = Reading(path, known)
    if known is SourceKind.UNKNOWN:
        reading.problem(None, _WHAT_IS_READ)
    elif known is SourceKind.BPF_OBJECT:
        reading.problem(None, "is a text, and no compiled eBPF object")
    elif known in _SCRIPTS and len(text) > MAX_SCRIPT:
        reading.problem(None, f"has more than {MAX_SCRIPT >> 20} MiB: no {known} has")
    elif known is SourceKind.BPFTRACE and not is_bpftrace(text) and is_one_liner(text):
        read_one_liners(text, reading)
    elif known is SourceKind.NAMES and is_json(text):
        read_json(text, reading)
    else:
        _READERS[known](text, reading)
    source = reading.source()
    if not source.wanted and not source.problems and not source.notes:
        told = reading.note if known in _CERTAIN else reading.problem
        told(None, "names no probe: is it the right file?")
        source = reading.source()
    return source


_WHAT_IS_READ = (
    "is nothing that names probes: a compiled eBPF object, a bpftrace script, a TracingPolicy, "
    "kprobe_events or perf probe definitions, or a list of names"
)


def _kind(text: str, path: Path) -> SourceKind:
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


# -- many ------------------------------------------------------------------------------------------


def read_sources(
    names: Iterable[str | os.PathLike[str]], kind: SourceKind | None = None
) -> list[Source]:
    """Read all that is named: files, folders with what is below them, patterns, ``-``.

    Args:
        names: Files, folders, patterns as of a shell (``probes/**/*.bt``), or ``-``.
        kind: What they are, where their content leaves doubt.

    Returns:
        One source a file, or object in it, in the order of the names, those of a folder sorted. A
        file in a folder that is no source has a note, and no probes; one that was named has a
        problem.

    Raises:
        UsageError: No name is given, a name is of nothing, or a pattern matches nothing.
    """
    sources: list[Source] = []
    seen: set[str] = set()
    for name in [os.fspath(one) for one in names]:
        for path, named in _files(name):
            identity = str(path) if str(path) == "-" else os.path.realpath(path)
            if identity not in seen:
                seen.add(identity)
                found = _read(path, kind)
                sources += found if named else map(_of_folder, found)
    if not sources:
        raise UsageError("name at least one source of probes")
    return sources


def _files(name: str) -> list[tuple[Path, bool]]:
    """The files that a name stands for, and whether each was named itself."""
    path = Path(name)
    if name == "-":
        return [(path, True)]
    if path.is_dir():
        found = [(one, False) for one in _below(path)]
        if not found:
            raise UsageError(f"{name} is a folder without files: name another")
        return found
    if path.exists() or not glob.has_magic(name):
        if not path.exists():
            raise UsageError(f"{name}: there is no such file")
        return [(path, True)]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - absolute patterns, too
    if not matches:
        raise UsageError(f"{name} matches no file")
    return [one for match in matches for one in _files(match)]


def _below(folder: Path) -> list[Path]:
    """All files below a folder, but for hidden ones; links to folders are not followed."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        found += [Path(parent, one) for one in sorted(files) if not one.startswith(".")]
        if len(found) > _MOST_FILES:
            raise UsageError(f"{folder} has more than {_MOST_FILES:,} files: name a smaller folder")
    return found


def _of_folder(source: Source) -> Source:
    """A file that nobody named may be something else: that is told, and is no problem."""
    if source.wanted or source.kind is not SourceKind.UNKNOWN:
        return source
    return Source(source.path, source.kind, notes=source.problems)
