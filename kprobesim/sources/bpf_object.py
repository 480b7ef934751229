"""A compiled eBPF object: what its sections say, and what its programs do."""

from __future__ import annotations

from pathlib import Path

from kprobesim.bpf.embedded import read_objects as read_carried
from kprobesim.bpf.helpers import OVERRIDE_RETURN
from kprobesim.bpf.instructions import CALL
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.program import Program
from kprobesim.errors import BpfObjectError
from kprobesim.sources.reading import Reading
from kprobesim.sources.sections import want_section
from kprobesim.sources.text import SourceError
from kprobesim.sources.wanted import Interface, Source, SourceKind

__all__ = ["is_elf", "read_object", "read_objects"]

_ELF = b"\x7fELF"


def is_elf(data: bytes) -> bool:
    """Whether a file begins as an ELF file does."""
    return data.startswith(_ELF)


def read_objects(path: Path) -> list[Source]:
    """The object in a file, or those that an executable carries, each a source of its own.

    Raises:
        SourceError: There is none, or only damaged ones.
    """
    try:
        found = read_carried(path)
    except BpfObjectError as error:
        raise SourceError(path, error.problem) from error
    return [_source(compiled) for compiled in found]


def read_object(data: bytes, path: Path) -> Source:
    """The object in ``data``; ``path`` is its name.

    Raises:
        SourceError: It is no whole eBPF object.
    """
    try:
        return _source(BpfObject.parse(data, str(path)))
    except BpfObjectError as error:
        raise SourceError(path, error.problem) from error


def _source(compiled: BpfObject) -> Source:
    reading = Reading(Path(compiled.path), SourceKind.BPF_OBJECT)
    for problem in compiled.problems:
        reading.problem(None, problem)
    for program in compiled.programs:
        section = f"{'?' if program.optional else ''}{program.section}"
        want_section(
            section,
            None,
            reading,
            program=program.name,
            overrides=_overrides(compiled, program),
        )
    for one in compiled.operations:
        text = f'SEC("{one.section}") struct {one.type}'
        reading.want(text, None, Interface.STRUCT_OPS, one.type, program=one.name)
    return reading.source(compiled)


def _overrides(compiled: BpfObject, program: Program) -> bool:
    """Whether code of a program's calls ``bpf_override_return()``."""
    return any(
        one.code == CALL and one.source == 0 and one.immediate == OVERRIDE_RETURN
        for function in compiled.code_of(program)
        for one in function.instructions
    )
