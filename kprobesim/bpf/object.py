"""A compiled eBPF object (``.bpf.o``): its programs, the code they call, and what they ask for."""

from __future__ import annotations

import bisect
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from kprobesim.bpf.btf_ext import BtfExt, CoreRecord
from kprobesim.bpf.code import core_records, read_functions
from kprobesim.bpf.elf_file import ElfFile
from kprobesim.bpf.externs import Extern, collect_externs
from kprobesim.bpf.instructions import CALL, INSTRUCTION_SIZE, PSEUDO_CALL
from kprobesim.bpf.maps import BpfMap, read_maps
from kprobesim.bpf.operations import Operations, read_operations
from kprobesim.bpf.program import Function, Program
from kprobesim.bpf.section_names import attachment
from kprobesim.errors import BpfObjectError, TypesError
from kprobesim.types.btf import Btf

__all__ = ["BpfObject"]

_LARGEST = 256 << 20
_LEGACY_MAPS = "its maps are defined in a section 'maps', which libbpf refuses since 1.0"


@dataclass(frozen=True, eq=False)
class BpfObject:
    """What is in a compiled eBPF object.

    ``programs`` are what attaches, ``functions`` all code. ``btf`` is its own BTF, ``None`` if it
    was compiled without ``-g``. ``core`` has the CO-RE relocations of each function, each with the
    number of its instruction there. ``maps`` are those that it defines, ``operations`` the
    structs of operations that it implements. ``constants`` are the
    sections of constants (``.rodata``) by their index, which whoever loads the object may set
    before. ``problems`` say why libbpf would not open it.
    """

    path: str
    programs: tuple[Program, ...]
    functions: tuple[Function, ...] = field(repr=False)
    externs: tuple[Extern, ...] = ()
    btf: Btf | None = field(default=None, repr=False)
    core: dict[Function, tuple[tuple[int, CoreRecord], ...]] = field(
        default_factory=dict, repr=False
    )
    maps: tuple[BpfMap, ...] = ()
    operations: tuple[Operations, ...] = ()
    constants: dict[int, bytes] = field(default_factory=dict, repr=False)
    license: str = ""
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> BpfObject:
        """Read the object in a file.

        Raises:
            BpfObjectError: The file cannot be read, or is no whole eBPF object for a little-endian
                machine.
        """
        return cls.parse(read_file(path), os.fspath(path))

    @classmethod
    def parse(cls, data: bytes, path: str = "<bytes>") -> BpfObject:
        """Read the object in ``data``; ``path`` is how to call it in errors.

        Raises:
            BpfObjectError: It is no whole eBPF object for a little-endian machine.
        """
        elf = ElfFile(data, path)
        try:
            return _read(cls, elf)
        except TypesError as error:
            raise BpfObjectError(path, error.problem) from error
        except ValueError as error:
            raise BpfObjectError(path, str(error)) from error

    def program(self, name: str) -> Program:
        """The program whose function has that name.

        Raises:
            KeyError: There is none.
        """
        for one in self.programs:
            if one.name == name:
                return one
        raise KeyError(name)

    def callee(self, caller: Function, index: int) -> Function | None:
        """The function of this object that the instruction there calls or takes the address of.

        As ``bpf_object__reloc_code()`` of libbpf.c finds it. ``None`` for calls of the kernel.
        """
        instruction = caller.instructions[index]
        symbol = caller.references.get(index)
        if instruction.code == CALL and instruction.source == PSEUDO_CALL:
            if symbol is None:
                place = caller.start + index + instruction.immediate + 1
                return self._function_at(caller.section_index, place)
            place = symbol.value // INSTRUCTION_SIZE + instruction.immediate + 1
            return self._function_at(symbol.section, place)
        if instruction.is_wide and symbol is not None:
            place = (symbol.value + instruction.immediate) // INSTRUCTION_SIZE
            return self._function_at(symbol.section, place)
        return None

    def code_of(self, program: Program) -> tuple[Function, ...]:
        """The program's function and all that it calls, directly or not."""
        found = {program.function: None}
        ahead = [program.function]
        while ahead:
            here = ahead.pop()
            for index, instruction in enumerate(here.instructions):
                if instruction.code == CALL or instruction.is_wide:
                    callee = self.callee(here, index)
                    if callee is not None and callee not in found:
                        found[callee] = None
                        ahead.append(callee)
        return tuple(found)

    def _function_at(self, section: int, place: int) -> Function | None:
        at = bisect.bisect_right(self.functions, (section, place), key=_place) - 1
        if at >= 0:
            found = self.functions[at]
            if found.section_index == section and place < found.end:
                return found
        return None


def _place(function: Function) -> tuple[int, int]:
    return function.section_index, function.start


def read_file(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a regular file that is not too large to be an object."""
    name = os.fspath(path)
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise BpfObjectError(name, "not a regular file")
        if status.st_size > _LARGEST:
            raise BpfObjectError(name, f"{status.st_size} bytes are too many for an eBPF object")
        return Path(path).read_bytes()
    except OSError as error:
        raise BpfObjectError(name, f"cannot be read: {error.strerror}") from error


def _read(cls: type[BpfObject], elf: ElfFile) -> BpfObject:
    types = elf.section(".BTF")
    btf = Btf(types.data, source=elf.path) if types is not None and types.data else None
    records = elf.section(".BTF.ext")
    extra = BtfExt.parse(records.data) if btf and records and records.data else BtfExt()
    functions = read_functions(elf, btf, extra)
    notes = elf.section("license")
    externs, problems = collect_externs(elf, btf)
    legacy = (_LEGACY_MAPS,) if elf.section("maps") else ()
    return cls(
        path=elf.path,
        programs=_programs(functions),
        functions=functions,
        externs=externs,
        btf=btf,
        core=core_records(elf, btf, extra, functions),
        maps=read_maps(btf),
        operations=read_operations(elf, btf),
        constants={one.index: one.data for one in elf.sections if one.name.startswith(".rodata")},
        license=notes.data.split(b"\0")[0].decode("utf-8", "replace") if notes else "",
        problems=(*legacy, *problems),
    )


def _programs(functions: tuple[Function, ...]) -> tuple[Program, ...]:
    """Functions in ``.text`` are called by others, unless there is no other."""
    return tuple(
        Program(one, attachment(one.section.removeprefix("?")), one.section.startswith("?"))
        for one in functions
        if one.section != ".text" or len(functions) == 1
    )
