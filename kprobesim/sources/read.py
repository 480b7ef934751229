"""Any source, read: a file, many files, a text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from kprobesim.bpf.embedded import is_object
from kprobesim.errors import UsageError
from kprobesim.sources.bcc.commands import is_command, read_commands
from kprobesim.sources.bcc.reader import is_bcc, read_bcc
from kprobesim.sources.bpf_object import is_elf, read_object, read_objects
from kprobesim.sources.bpftrace.reader import (
    is_bpftrace,
    is_one_liner,
    read_bpftrace,
    read_one_liners,
)
from kprobesim.sources.c_source import read_c_source
from kprobesim.sources.files import source_files
from kprobesim.sources.json_list import is_json, read_json
from kprobesim.sources.kind import kind_of
from kprobesim.sources.kprobe_events.reader import read_kprobe_events
from kprobesim.sources.names import read_names
from kprobesim.sources.perf_probe import read_perf_probe
from kprobesim.sources.reading import Reading
from kprobesim.sources.text import MAX_SCRIPT, SourceError, decode, is_stream, printable, read_bytes
from kprobesim.sources.wanted import Problem, Source, SourceKind

__all__ = ["read_source", "read_sources", "read_text"]

_Reader = Callable[[str, Reading], None]


def _read_tetragon(text: str, reading: Reading) -> None:
    from kprobesim.sources.tetragon.reader import read_tetragon  # which imports all of YAML

    read_tetragon(text, reading)


_READERS: dict[SourceKind, _Reader] = {
    SourceKind.BPFTRACE: read_bpftrace,
    SourceKind.KPROBE_EVENTS: read_kprobe_events,
    SourceKind.C_SOURCE: read_c_source,
    SourceKind.BCC: read_bcc,
    SourceKind.NAMES: read_names,
    SourceKind.PERF_PROBE: read_perf_probe,
    SourceKind.TETRAGON: _read_tetragon,
}
_SCRIPTS = (SourceKind.BPFTRACE, SourceKind.TETRAGON, SourceKind.BCC)
_CERTAIN = (*_SCRIPTS, SourceKind.BPF_OBJECT)  # may have none
_WHAT_IS_READ = (
    "is nothing that names probes: a compiled eBPF object, a bpftrace script, a tool of BCC's, "
    "a TracingPolicy, kprobe_events or perf probe definitions, or a list of names"
)
_HEAD = 64  # bytes that tell an eBPF object


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
    known = kind or kind_of(text, path)
    reading = Reading(path, known)
    if known is SourceKind.UNKNOWN:
        reading.problem(None, _WHAT_IS_READ)
    elif known is SourceKind.BPF_OBJECT:
        reading.problem(None, "is a text, and no compiled eBPF object")
    elif known in _SCRIPTS and len(text) > MAX_SCRIPT:
        reading.problem(None, f"has more than {MAX_SCRIPT >> 20} MiB: no {known} has")
    elif known is SourceKind.BPFTRACE and not is_bpftrace(text) and is_one_liner(text):
        read_one_liners(text, reading)
    elif known is SourceKind.BCC and not is_bcc(text, path) and is_command(text):
        read_commands(text, reading)
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
        for path, named in source_files(name):
            identity = str(path) if str(path) == "-" else os.path.realpath(path)
            if identity not in seen:
                seen.add(identity)
                found = _read(path, kind)
                sources += found if named else map(_of_folder, found)
    if not sources:
        raise UsageError("name at least one source of probes")
    return sources


def _of_folder(source: Source) -> Source:
    """A file that nobody named may be something else: that is told, and is no problem."""
    if source.wanted or source.kind is not SourceKind.UNKNOWN:
        return source
    return Source(source.path, source.kind, notes=source.problems)
