"""The functions in an object's executable sections, with the symbols and lines of their code."""

from __future__ import annotations

from kprobesim.bpf.btf_ext import BtfExt, CoreRecord
from kprobesim.bpf.elf_file import STB_LOCAL, STT_FUNC, ElfFile, Section, Symbol
from kprobesim.bpf.instructions import INSTRUCTION_SIZE, LAST_REGISTER, decode
from kprobesim.bpf.program import Function, SourceLine
from kprobesim.errors import BpfObjectError
from kprobesim.types.btf import Btf

__all__ = ["core_records", "read_functions"]


def read_functions(elf: ElfFile, btf: Btf | None, extra: BtfExt) -> tuple[Function, ...]:
    """All functions, in the order of their sections and places.

    Raises:
        BpfObjectError: One is not within its section.
    """
    references = _references(elf)
    lines = _lines(elf, btf, extra)
    found = []
    for symbol in elf.symbols:
        if symbol.kind != STT_FUNC or not symbol.section < len(elf.sections):
            continue
        section = elf.sections[symbol.section]
        if section.is_code:
            found.append(_function(elf, symbol, section, references, lines))
    return tuple(sorted(found, key=lambda one: (one.section_index, one.start)))


def core_records(
    elf: ElfFile, btf: Btf | None, extra: BtfExt, functions: tuple[Function, ...]
) -> dict[Function, tuple[tuple[int, CoreRecord], ...]]:
    """The CO-RE relocations of each function, with the number of the instruction in it.

    One that is in no function belonged to a weak one that the linker replaced: libbpf skips it.

    Raises:
        BpfObjectError: One is not at an instruction.
    """
    found: dict[Function, list[tuple[int, CoreRecord]]] = {}
    if btf is None:
        return {}
    for name, records in extra.core.items():
        section = elf.section(btf.string(name))
        here = [one for one in functions if section and one.section_index == section.index]
        for record in records:
            if record.offset % INSTRUCTION_SIZE:
                raise BpfObjectError(elf.path, f"a relocation at byte {record.offset} of code")
            place = record.offset // INSTRUCTION_SIZE
            for one in here:
                if one.start <= place < one.end:
                    found.setdefault(one, []).append((place - one.start, record))
    return {one: tuple(records) for one, records in found.items()}


def _references(elf: ElfFile) -> dict[int, dict[int, Symbol]]:
    """By section and number of the instruction there, the symbol that it refers to."""
    found: dict[int, dict[int, Symbol]] = {}
    for section, relocations in elf.relocations():
        if section.is_code:
            of_section = found.setdefault(section.index, {})
            for one in relocations:
                of_section[one.offset // INSTRUCTION_SIZE] = elf.symbols[one.symbol]
    return found


def _lines(elf: ElfFile, btf: Btf | None, extra: BtfExt) -> dict[int, list[tuple[int, SourceLine]]]:
    """By section, from which instruction on code comes from which line."""
    found: dict[int, list[tuple[int, SourceLine]]] = {}
    if btf is None:
        return found
    for name, records in extra.lines.items():
        section = elf.section(btf.string(name))
        if section is not None:
            found[section.index] = [
                (
                    one.offset // INSTRUCTION_SIZE,
                    SourceLine(btf.string(one.file), one.line, _text(btf.string(one.text))),
                )
                for one in records
            ]
    return found


def _text(line: str) -> str:
    """A line of C without what indents it; strings of types come with their tabs escaped."""
    return line.replace("\\t", " ").strip()


def _function(
    elf: ElfFile,
    symbol: Symbol,
    section: Section,
    references: dict[int, dict[int, Symbol]],
    lines: dict[int, list[tuple[int, SourceLine]]],
) -> Function:
    end = symbol.value + symbol.size
    if end > len(section.data) or symbol.value % INSTRUCTION_SIZE or symbol.size % INSTRUCTION_SIZE:
        raise BpfObjectError(
            elf.path, f"function {symbol.name!r} does not lie within section {section.name!r}"
        )
    instructions = decode(section.data[symbol.value : end])
    if any(max(one.destination, one.source) > LAST_REGISTER for one in instructions):
        raise BpfObjectError(elf.path, f"the code of {symbol.name!r} names registers above r10")
    start, stop = symbol.value // INSTRUCTION_SIZE, end // INSTRUCTION_SIZE
    inside = range(start, stop)
    refers = references.get(section.index, {})
    return Function(
        name=symbol.name,
        section=section.name,
        section_index=section.index,
        start=start,
        is_global=symbol.binding != STB_LOCAL and not symbol.is_hidden,
        instructions=instructions,
        references={at - start: to for at, to in refers.items() if at in inside},
        lines=tuple(
            (at - start, line) for at, line in lines.get(section.index, ()) if at in inside
        ),
    )
