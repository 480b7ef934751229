"""A module that the guest is about to start: ``do_init_module(mod)`` (kernel/module/main.c).

By then its code is where it stays, patched and relocated, and ``struct module`` still names all of
its symbols, those of its ``.init`` too, at their addresses. Nothing of it has run.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from kprobesim.errors import ImageError
from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.system import System

__all__ = ["StartingModule", "module_members", "read_symbols", "watch_module_loads"]

_STARTS = "do_init_module"
_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, section, value, size
_NAME = 56  # MODULE_NAME_LEN
_MOST_SYMBOLS, _MOST_LABELS = 1 << 20, 1 << 20  # more than any module has
_LABEL = 16  # struct jump_entry
_MEMBERS = {
    "name": ("module", "name"),
    "kallsyms": ("module", "kallsyms"),
    "labels": ("module", "jump_entries"),
    "label_count": ("module", "num_jump_entries"),
    "symbols": ("mod_kallsyms", "symtab"),
    "symbol_count": ("mod_kallsyms", "num_symtab"),
    "strings": ("mod_kallsyms", "strtab"),
}


def module_members(image: KernelImage) -> dict[str, int]:
    """Offsets in ``struct module`` and ``struct mod_kallsyms``, as far as BTF tells them."""
    btf: Any = image.btf
    return {
        name: offset
        for name, (of, member) in _MEMBERS.items()
        if btf is not None and (offset := btf.offset(of, member)) is not None
    }


def read_symbols(
    memory: HostAccess, module: int, members: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """Name, address and size of what the ``struct module`` there defines, in the table's order."""
    table = memory.read_u64(module + members["kallsyms"])
    count = min(memory.read_u32(table + members["symbol_count"]), _MOST_SYMBOLS)
    strings = memory.read_u64(table + members["strings"])
    data = memory.read(memory.read_u64(table + members["symbols"]), _SYMBOL.size * count)
    return [
        (memory.read_cstr(strings + name).decode("utf-8", "replace"), value, size)
        for name, _, _, section, value, size in _SYMBOL.iter_unpack(data)
        if section and name
    ]


class StartingModule:
    """A module whose init function is about to be called; read while it is.

    Attributes:
        name: As lsmod shows it.
    """

    def __init__(self, memory: HostAccess, address: int, members: dict[str, int]) -> None:
        """The ``struct module`` at ``address``."""
        self._memory = memory
        self._address = address
        self._members = members
        name = memory.read(address + members["name"], _NAME).partition(b"\0")[0]
        self.name = name.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<StartingModule {self.name}>"

    @cached_property
    def _symbols(self) -> list[tuple[str, int, int]]:
        return read_symbols(self._memory, self._address, self._members)

    def address_of(self, symbol: str) -> int | None:
        """The first of that name, as ``find_kallsyms_symbol_value()`` takes it."""
        return next((value for name, value, _ in self._symbols if name == symbol), None)

    def symbol_at(self, address: int) -> str:
        """The name of what begins at ``address``, or that as a number."""
        found = (name for name, value, _ in self._symbols if value == address)
        return next(found, f"{address:#x}")

    def covers(self, address: int) -> bool:
        """Whether something of the module's is there now."""
        return any(value <= address < value + size for _, value, size in self._symbols)

    def jump_table(self) -> tuple[int, bytes]:
        """Where its ``__jump_table`` lies, and its bytes."""
        if "labels" not in self._members:  # CONFIG_JUMP_LABEL=n
            return 0, b""
        start = self._memory.read_u64(self._address + self._members["labels"])
        count = self._memory.read_u32(self._address + self._members["label_count"])
        size = _LABEL * min(count, _MOST_LABELS)
        return start, self._memory.read(start, size) if size else b""


def watch_module_loads(
    machine: System, image: KernelImage, started: Callable[[StartingModule], object]
) -> None:
    """Call ``started`` before the init function of each module that the guest loads.

    Raises:
        ImageError: The kernel has no modules, or does not tell how its ``struct module`` looks.
    """
    found = image.symbols.candidates(_STARTS)
    members = module_members(image)
    if not found or not {*_MEMBERS} - {"labels", "label_count"} <= {*members}:
        raise ImageError(
            image.path,
            "does not tell where it starts a module, or how its struct module looks: it was built "
            "without modules, without kallsyms, or without CONFIG_DEBUG_INFO_BTF",
        )

    def starts(_address: int) -> None:
        started(StartingModule(machine.memory, machine.regs.arg(0), members))

    machine.code_watch.watch(found[0].address, starts, INSIDE)
