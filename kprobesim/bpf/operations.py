"""Structs of operations that an object implements (``SEC(".struct_ops.link")``), and what is set.

``bpf_map__init_kern_struct_ops()`` of libbpf.c (1.5): a member that the kernel's struct has not is
passed over if it is zero, and refused if it is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kprobesim.bpf.core.names import essential_name
from kprobesim.bpf.elf_file import ElfFile
from kprobesim.bpf.facts import KernelFacts
from kprobesim.types.btf import Btf
from kprobesim.types.model import DataSection, Struct, Variable

__all__ = ["Operations", "missing_members", "read_operations"]

_SECTIONS = (".struct_ops", ".struct_ops.link")


@dataclass(frozen=True)
class Operations:
    """A variable ``name`` in ``section``: a ``struct type`` with the members that are set."""

    name: str
    section: str
    type: str
    members: tuple[str, ...]


def read_operations(elf: ElfFile, btf: Btf | None) -> tuple[Operations, ...]:
    """Those of an object, in order."""
    if btf is None:
        return ()
    referred = {section.name: [one.offset for one in found] for section, found in elf.relocations()}
    return tuple(
        one for name in _SECTIONS for one in _of_section(elf, btf, name, referred.get(name, []))
    )


def _of_section(elf: ElfFile, btf: Btf, name: str, referred: list[int]) -> Iterator[Operations]:
    section = elf.section(name)
    for described in btf.named(name, DataSection) if section is not None else ():
        assert section is not None
        for place in described.variables:
            if not isinstance(place.type, Variable):
                continue
            kind = place.type.target.stripped
            if not isinstance(kind, Struct):
                continue
            data = section.data[place.offset : place.offset + place.size]
            at = [one - place.offset for one in referred if 0 <= one - place.offset < place.size]
            found = []
            for member in kind.members:
                end = member.offset + (member.type.stripped.size or 0)
                if any(data[member.offset : end]) or any(member.offset <= one < end for one in at):
                    found.append(member.name)
            yield Operations(place.type.name, name, essential_name(kind.name), tuple(found))


def missing_members(one: Operations, kernel: KernelFacts) -> list[str]:
    """The members that are set and that the kernel's struct has not; none without that struct."""
    structs = [] if kernel.btf is None else kernel.btf.named(one.type, Struct)
    if not structs:
        return []
    theirs = {member.name for member in structs[0].members}
    return [name for name in one.members if name and essential_name(name) not in theirs]
