"""``DrgnSession``: a ``drgn.Program`` that looks at a guest of ours, live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError, ImageError, UsageError
from kprobesim.functions.dwarf.debug_file import elf_file, has_dwarf, is_own_file
from kprobesim.image import KernelImage, SymbolTable
from kprobesim.inside.vmcoreinfo import written_vmcoreinfo
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.typed.value import TypedValue
from kprobesim.typed.variables import VariableType
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration

try:
    import drgn
except ImportError:
    raise UsageError(
        "drgn is not installed; install it with: pip install 'kprobesim[drgn]'"
    ) from None

from kprobesim.bridges.drgn.objects import DrgnObjects
from kprobesim.bridges.drgn.registers import pt_regs_bytes
from kprobesim.bridges.drgn.symbols import DrgnSymbols
from kprobesim.bridges.drgn.types import DrgnTypes

__all__ = ["DrgnGuest", "DrgnSession"]

_ARCHITECTURES: Mapping[str, Any] = halves(
    x86_64=drgn.Architecture.X86_64, arm64=drgn.Architecture.AARCH64
)
_KERNEL_HALF = 1 << 63
_NAME = "kprobesim"


@dataclass(frozen=True)
class DrgnGuest:
    """What a program looks at.

    Attributes:
        image: Its kernel.
        memory: Its memory.
        types: The types of the kernel and of its modules; none where it has no BTF.
        symbols: Their symbols.
        linked_at: The address that a variable was linked to.
        vmcoreinfo: What its kernel has written down for who reads dumps, if it has.
    """

    image: KernelImage
    memory: HostAccess
    types: Callable[[], Sequence[Btf]]
    symbols: Callable[[], SymbolTable]
    linked_at: Callable[[str, VariableType | None], int]
    vmcoreinfo: bytes | None


class DrgnSession:
    """The program of one guest; what debug information does not say, BTF and symbols tell.

    Attributes:
        prog: The ``drgn.Program``.
    """

    def __init__(self, guest: DrgnGuest, debug: Path | None = None) -> None:
        """Begin.

        Args:
            guest: What it looks at.
            debug: A vmlinux with DWARF of the same kernel, or a package with one.

        Raises:
            ImageError: ``debug`` is of another kernel, or has no debug information; or nothing
                tells how the kernel's structs look.
        """
        self._guest, image, memory = guest, guest.image, guest.memory
        debug = debug or _own_debug(image)
        if debug is None and not guest.types():
            raise ImageError(
                image.path,
                "says nothing of its types: it was built without CONFIG_DEBUG_INFO_BTF, so name "
                "the vmlinux of its -dbg package (debug=)",
            )
        self.prog = prog = drgn.Program(drgn.Platform(_ARCHITECTURES[image.arch]))

        def read_physical(address: int, count: int, _offset: int, _physical: bool) -> bytes:
            at = address - memory.base
            return memory.ram[at : at + count]

        def read_virtual(address: int, count: int, _offset: int, _physical: bool) -> bytes:
            try:
                return memory.read(address, count)
            except GuestMemoryError as error:  # its helpers catch its own
                raise drgn.FaultError("nothing is mapped there", error.address) from None

        prog.add_memory_segment(memory.base, memory.size, read_physical, True)
        prog.set_linux_kernel_custom(guest.vmcoreinfo or written_vmcoreinfo(image), False)
        prog.add_memory_segment(_KERNEL_HALF, _KERNEL_HALF, read_virtual, False)
        self._types = DrgnTypes(prog, guest.types)
        objects = DrgnObjects(self._types, guest.types, guest.linked_at, guest.symbols)
        prog.register_type_finder(_NAME, self._types.find, enable_index=-1)
        prog.register_object_finder(_NAME, objects.find, enable_index=-1)
        prog.register_symbol_finder(_NAME, DrgnSymbols(guest.symbols).find, enable_index=-1)
        if debug is not None:
            self._load(debug)
        else:  # so that drgn finds the kernel's ORC, which belongs to a module
            places = [each for each in image.segments if each.vaddr >= _KERNEL_HALF]
            kernel = prog.main_module("kernel", create=True)
            kernel.address_range = places[0].vaddr, places[-1].end
        self.look_for_modules()

    def _load(self, debug: Path) -> None:
        prog = self.prog
        with elf_file(debug, None) as path:
            try:
                prog.load_debug_info([path], main=True)
            except drgn.MissingDebugInfoError:
                raise ImageError(
                    debug,
                    f"has no debug information of {self._guest.image.path}: it is of another "
                    "build, or stripped",
                ) from None

    def look_for_modules(self) -> None:
        """Let drgn know of modules that the guest has loaded by now."""
        if self._guest.types() and "modules" in self.prog:
            self.prog.create_loaded_modules()

    def object(self, thing: TypedValue | PtRegs) -> drgn.Object:
        """The ``drgn.Object`` that is the same; of registers a ``struct pt_regs``.

        Raises:
            UsageError: It is something else.
        """
        if isinstance(thing, PtRegs):
            type = self.prog.type("struct pt_regs")
            return drgn.Object.from_bytes_(self.prog, type, pt_regs_bytes(thing, type))
        if not isinstance(thing, TypedValue):
            raise UsageError(f"{thing!r} is of type {type_of(thing)}: give a typed value, or regs")
        type = self._type(thing)
        if thing.is_number_:
            return drgn.Object(self.prog, type, value=thing.value_())
        if thing.address_ is not None:
            return drgn.Object(self.prog, type, address=thing.address_)
        return drgn.Object.from_bytes_(self.prog, type, thing.bytes_())

    def _type(self, thing: TypedValue) -> Any:
        """By its name, so that it is DWARF's where there is DWARF."""
        try:
            return self.prog.type(declaration(thing.type_))
        except (LookupError, SyntaxError):
            return self._types.of(thing.type_)


def type_of(thing: object) -> str:
    """The name of its class."""
    return type(thing).__name__


def _own_debug(image: KernelImage) -> Path | None:
    return image.path if has_dwarf(image) and is_own_file(image.path) else None
