"""Where a loaded module keeps what: the members of its ``struct module``, by the kernel's BTF.

include/linux/module.h, 5.10 to 7.3: its memory was ``core_layout`` and ``init_layout`` up to 6.3,
then one ``struct module_memory`` for each ``enum mod_mem_type``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr
from kprobesim.image.elf import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE
from kprobesim.machine.memory import HostAccess
from kprobesim.sizes import MASK64
from kprobesim.types.btf import Btf
from kprobesim.types.model import Array, Composite, Member

__all__ = ["MemoryPart", "ModuleLayout"]

_CODE, _CONSTANTS, _DATA = SHF_ALLOC | SHF_EXECINSTR, SHF_ALLOC, SHF_ALLOC | SHF_WRITE
#: By the number of the kind of memory: name, flags, whether it is freed after init.
_KINDS = (
    ("text", _CODE, False),
    ("data", _DATA, False),
    ("rodata", _CONSTANTS, False),
    ("ro_after_init", _CONSTANTS, False),
    ("text", _CODE, True),
    ("data", _DATA, True),
    ("rodata", _CONSTANTS, True),
)
#: Sections by the members that tell where they begin and how many entries of which size they have.
_TABLES: Mapping[str, tuple[str, str, int | str]] = {
    "__mcount_loc": ("ftrace_callsites", "num_ftrace_callsites", 8),
    "__ex_table": ("extable", "num_exentries", "exception_table_entry"),
    "__bug_table": ("bug_table", "num_bugs", "bug_entry"),
    "__jump_table": ("jump_entries", "num_jump_entries", "jump_entry"),
    "_kprobe_blacklist": ("kprobe_blacklist", "num_kprobe_blacklist", 8),
    "_error_injection_whitelist": ("ei_funcs", "num_ei_funcs", "error_injection_entry"),
    "__ksymtab": ("syms", "num_syms", "kernel_symbol"),
    "__ksymtab_gpl": ("gpl_syms", "num_gpl_syms", "kernel_symbol"),
    ".static_call_sites": ("static_call_sites", "num_static_call_sites", 8),
    ".noinstr.text": ("noinstr_text_start", "noinstr_text_size", 1),
    ".kprobes.text": ("kprobes_text_start", "kprobes_text_size", 1),
    ".orc_unwind_ip": ("arch.orc_unwind_ip", "arch.num_orcs", 4),
    ".orc_unwind": ("arch.orc_unwind", "arch.num_orcs", 6),
}
_LARGEST = 64 << 20  # bytes of a table or a part of memory: more is damage


@dataclass(frozen=True, repr=False)
class MemoryPart(HexRepr):
    """A run of a module's memory: ``name`` and ``flags`` as a section of that kind has them."""

    name: str
    flags: int
    init: bool
    address: int
    size: int


class ModuleLayout:
    """Reads the ``struct module`` at any address of ``memory``, by the types ``btf``."""

    def __init__(self, memory: HostAccess, btf: Btf) -> None:
        self._memory = memory
        self._btf = btf
        self._known: dict[str, Mapping[str, Member]] = {}
        self._sizes: dict[str, int] = {}

    def parts(self, module: int) -> Iterator[MemoryPart]:
        """Its memory, what stays first."""
        found = self._by_kind(module) if self._kinds is not None else self._by_layout(module)
        for each in found:
            if 0 < each.size <= _LARGEST and each.address:
                yield each

    @cached_property
    def _kinds(self) -> tuple[int, int, int, int] | None:
        """Offset and stride of ``mem``, and where in an element are base and size."""
        member = self._members("module").get("mem")
        array = member.type.stripped if member is not None else None
        if member is None or not isinstance(array, Array):
            return None
        inside = self._members("module_memory")
        return member.offset, array.element.size or 0, inside["base"].offset, inside["size"].offset

    def _members(self, struct: str) -> Mapping[str, Member]:
        """The members of a struct, by name; those of ``struct module`` are asked for often."""
        known = self._known.get(struct)
        if known is None:
            found = next(iter(self._btf.named(struct, Composite)), None)
            known = {} if found is None else {each.name: each for each in found.flat()}
            self._known[struct] = known
        return known

    def _offset(self, path: str) -> int | None:
        """Where ``a`` or ``a.b`` lies in ``struct module``."""
        name, _, rest = path.partition(".")
        member = self._members("module").get(name)
        if member is None or not rest:
            return None if member is None else member.offset
        inner = member.type.stripped
        found = inner.find(rest) if isinstance(inner, Composite) else None
        return None if found is None else member.offset + found.offset

    def _by_kind(self, module: int) -> Iterator[MemoryPart]:
        assert self._kinds is not None
        offset, stride, base, size = self._kinds
        for number, (name, flags, init) in enumerate(_KINDS):
            at = module + offset + number * stride
            address, length = self._memory.read_u64(at + base), self._memory.read_u32(at + size)
            yield MemoryPart(name, flags, init, address, length)

    def _by_layout(self, module: int) -> Iterator[MemoryPart]:
        for layout, init in (("core_layout", False), ("init_layout", True)):
            base = self._word(module, f"{layout}.base")
            ends = [
                self._half(module, f"{layout}.{member}")
                for member in ("text_size", "ro_size", "ro_after_init_size", "size")
            ]
            at = 0
            for end, (name, flags) in zip(
                ends,
                (
                    ("text", _CODE),
                    ("rodata", _CONSTANTS),
                    ("ro_after_init", _CONSTANTS),
                    ("data", _DATA),
                ),
                strict=True,
            ):
                if end > at:
                    yield MemoryPart(name, flags, init, base + at if base else 0, end - at)
                    at = end

    def tables(self, module: int) -> Iterator[tuple[str, int, int]]:
        """Name, address and bytes of each of its tables that is not empty."""
        for section, (where, count, entry) in _TABLES.items():
            number, address = self._half(module, count), self._word(module, where)
            if number and address:
                size = entry if isinstance(entry, int) else self._size(entry)
                if 0 < number * size <= _LARGEST:
                    yield section, address, number * size

    def _size(self, struct: str) -> int:
        if struct not in self._sizes:
            found = (each.size or 0 for each in self._btf.named(struct, Composite))
            self._sizes[struct] = next(found, 0)
        return self._sizes[struct]

    def _word(self, module: int, member: str) -> int:
        offset = self._offset(member)
        return 0 if offset is None else self._memory.read_u64(module + offset)

    def _half(self, module: int, member: str) -> int:
        offset = self._offset(member)
        return 0 if offset is None else self._memory.read_u32(module + offset)

    def read(self, part: MemoryPart) -> bytes:
        """What is in that part now; nothing where it is not mapped any more."""
        try:
            return self._memory.read(part.address & MASK64, part.size)
        except GuestMemoryError:
            return b""
