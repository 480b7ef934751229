"""``make_program``: a ``drgn.Program`` of a guest of ours, live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drgn

from kprobesim.arch.architecture import halves
from kprobesim.bridges.drgn.objects import DrgnObjects
from kprobesim.bridges.drgn.symbols import DrgnSymbols
from kprobesim.bridges.drgn.types import DrgnTypes
from kprobesim.image import SymbolTable
from kprobesim.machine.memory import HostAccess
from kprobesim.typed.variables import VariableType
from kprobesim.types.btf import Btf

__all__ = ["DrgnGuest", "make_program"]

_ARCHITECTURES: Mapping[str, Any] = halves(
    x86_64=drgn.Architecture.X86_64, arm64=drgn.Architecture.AARCH64
)
_KERNEL_HALF = 1 << 63
_NAME = "kprobesim"


@dataclass(frozen=True)
class DrgnGuest:
    """What a program looks at.

    Attributes:
        arch: Its architecture.
        memory: Its memory.
        types: The types of the kernel and of its modules.
        symbols: Their symbols.
        linked_at: The address that a variable was linked to.
        vmcoreinfo: What its kernel says of itself for crash dumps.
    """

    arch: str
    memory: HostAccess
    types: Callable[[], Sequence[Btf]]
    symbols: Callable[[], SymbolTable]
    linked_at: Callable[[str, VariableType | None], int]
    vmcoreinfo: bytes


def make_program(guest: DrgnGuest, debug: Path | None = None) -> drgn.Program:
    """The program; what ``debug`` does not say is told by BTF and symbols.

    Args:
        guest: What it looks at.
        debug: A vmlinux with DWARF of the same kernel.

    Raises:
        drgn.MissingDebugInfoError: It is of another kernel.
    """
    memory = guest.memory
    prog = drgn.Program(drgn.Platform(_ARCHITECTURES[guest.arch]))

    def read_physical(address: int, count: int, _offset: int, _physical: bool) -> bytes:
        at = address - memory.base
        return memory.ram[at : at + count]

    def read_virtual(address: int, count: int, _offset: int, _physical: bool) -> bytes:
        return memory.read(address, count)

    prog.add_memory_segment(memory.base, memory.size, read_physical, True)
    prog.set_linux_kernel_custom(guest.vmcoreinfo, False)
    prog.add_memory_segment(_KERNEL_HALF, _KERNEL_HALF, read_virtual, False)
    types = DrgnTypes(prog, guest.types)
    objects = DrgnObjects(types, guest.types, guest.linked_at)
    prog.register_type_finder(_NAME, types.find, enable_index=-1)
    prog.register_object_finder(_NAME, objects.find, enable_index=-1)
    prog.register_symbol_finder(_NAME, DrgnSymbols(guest.symbols).find, enable_index=-1)
    if debug is not None:
        prog.load_debug_info([debug])
    return prog
