"""``LoadedImage``: a kernel image and the modules that are loaded: all that they know together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from kprobesim.errors import SymbolError
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.symbols.table import Columns, Symbol, SymbolAt, SymbolTable
from kprobesim.image.tables.bugtable import BugEntry, BugTable
from kprobesim.image.tables.error_injection import ErrorInjection, InjectionType
from kprobesim.image.tables.extable import ExceptionEntry, ExceptionTable
from kprobesim.image.tables.patch_sites import PatchSites

if TYPE_CHECKING:  # a guest that has loaded none needs none of it
    from kprobesim.image.modules.module_image import ModuleImage
    from kprobesim.types.btf import Btf

__all__ = ["LoadedImage"]


class LoadedImage(KernelImage):
    """``kernel`` with its modules: an address is judged by the tables of what it lies in.

    What bounds the kernel's own areas, such as ``text_ranges`` and ``bounds()``, is its alone.
    """

    def __init__(self, kernel: KernelImage) -> None:
        self.kernel = kernel
        self._modules: dict[str, ModuleImage] = {}
        self.code_by_name: dict[str, int] = {}
        """For who looks the same functions up often: empty again when a module comes or goes."""
        self._ftrace_sites: frozenset[int] | None = None

        def read_columns(_: KernelImage) -> tuple[Columns, str] | None:
            symbols = kernel.symbols if kernel.has_symbols else None
            return None if symbols is None else (symbols.columns, symbols.source)

        super().__init__(
            kernel.path,
            kernel.arch,
            kernel.container,
            kernel.entry,
            kernel.segments,
            section_headers=kernel.section_headers,
            read_columns=read_columns,
            read_build_id=lambda: kernel.build_id,
            banner=kernel.banner,
        )
        self.stored_config = kernel.stored_config

    @property
    def modules(self) -> Mapping[str, ModuleImage]:
        """By name, the oldest first."""
        return self._modules

    @property
    def percpu_load(self) -> int | None:
        """Where the initial copy of the kernel's per-CPU data lies."""
        return self.kernel.percpu_load if self.kernel.has_symbols else None

    @cached_property
    def kallsyms_all(self) -> bool:
        """Whether the kernel itself knows symbols of data."""
        return self.kernel.kallsyms_all

    @cached_property
    def kprobe_blacklist(self) -> Sequence[int]:
        """Addresses in ``_kprobe_blacklist`` of the kernel."""
        return self.kernel.kprobe_blacklist

    @cached_property
    def mcount_sites(self) -> Sequence[int]:
        """Addresses of the calls or nops that ftrace patches in the kernel."""
        return self.kernel.mcount_sites

    @cached_property
    def btf(self) -> Btf | None:
        """The types of the kernel."""
        return self.kernel.btf

    def add(self, module: ModuleImage) -> None:
        """From now on ``module`` belongs to it, instead of the one of that name, if there is."""
        self._modules[module.name] = module
        self._changed()

    def remove(self, name: str) -> None:
        """Undo :meth:`add`."""
        del self._modules[name]
        self._changed()

    def _changed(self) -> None:
        self._ftrace_sites = None
        self.code_by_name.clear()

    def part(self, address: int) -> KernelImage:
        """The module that holds ``address``, or the kernel."""
        return self.module_at(address) or self.kernel

    def module_at(self, address: int) -> ModuleImage | None:
        """The module that holds ``address``."""
        for module in self.modules.values():
            if module.holds(address):
                return module
        return None

    def has_module(self, name: str) -> bool:
        """Whether a module of that name is loaded."""
        return name in self.modules

    # Memory and code

    def contains(self, vaddr: int) -> bool:
        """Whether the byte at ``vaddr`` belongs to the kernel or a module."""
        return self.module_at(vaddr) is not None or self.kernel.contains(vaddr)

    def read(self, vaddr: int, size: int) -> bytes:
        """``size`` bytes as loaded; ``ImageError`` outside of kernel and modules."""
        return self.part(vaddr).read(vaddr, size)

    def read_string(self, vaddr: int, limit: int = 4096) -> str | None:
        """The NUL-terminated string at ``vaddr``; ``None`` if there is none within ``limit``."""
        return self.part(vaddr).read_string(vaddr, limit)

    def bounds(self, start: str, stop: str) -> tuple[int, int] | None:
        """The range between two symbols of the kernel."""
        return self.kernel.bounds(start, stop)

    def exported(self, name: str) -> int | None:
        """The address of a symbol of the kernel."""
        return self.kernel.exported(name)

    def is_kernel_text(self, address: int) -> bool:
        """Whether ``address`` is in core kernel text or in a module's."""
        return self.part(address).is_kernel_text(address)

    def is_code(self, address: int) -> bool:
        """Whether ``address`` is in any code."""
        return self.part(address).is_code(address)

    def exported_to_modules(self, name: str) -> int | None:
        """The address of what kernel or modules export as ``name``; else ``None``."""
        address = self._kernel_exports.get(name)
        for module in self.modules.values() if address is None else ():
            address = address or module.exports.get(name)
        return address

    @cached_property
    def _kernel_exports(self) -> dict[str, int]:
        from kprobesim.image.tables.exports import kernel_exports

        return dict(kernel_exports(self.kernel))

    # Names

    @property
    def has_symbols(self) -> bool:
        """Whether there are any :attr:`symbols`."""
        return self.kernel.has_symbols

    @cached_property
    def symbols(self) -> SymbolTable:
        """The symbols of all; ``module:name`` is the module's own."""
        return _Symbols(self, self.kernel.symbols)

    # Tables

    @cached_property
    def exception_table(self) -> ExceptionTable:
        """``__ex_table`` of all."""
        return _Exceptions(self)

    @cached_property
    def bug_table(self) -> BugTable:
        """``__bug_table`` of all."""
        return _Bugs(self)

    @property
    def ftrace_sites(self) -> frozenset[int]:
        """Where ftrace patches the code."""
        if self._ftrace_sites is None:
            modules = (module.ftrace_sites for module in self.modules.values())
            self._ftrace_sites = self.kernel.ftrace_sites.union(*modules)
        return self._ftrace_sites

    @cached_property
    def jump_labels(self) -> PatchSites:
        """The bytes of all jump labels."""
        return _Labels(self)

    @cached_property
    def static_calls(self) -> PatchSites:
        """The bytes of all static calls."""
        return _StaticCalls(self)

    @cached_property
    def error_injection(self) -> ErrorInjection:
        """``_error_injection_whitelist`` of all."""
        return _ErrorInjections(self)

    @property
    def all_parts(self) -> list[KernelImage]:
        """The kernel and its modules, the newest first: the order in which names are looked up."""
        return [self.kernel, *reversed([*self.modules.values()])]


class _Symbols(SymbolTable):
    def __init__(self, image: LoadedImage, kernel: SymbolTable) -> None:
        self._image = image
        self._kernel = kernel
        self.source = kernel.source

    @property
    def columns(self) -> Columns:
        return self._kernel.columns

    def __len__(self) -> int:
        return sum(len(part.symbols) for part in self._image.all_parts)

    def __iter__(self) -> Iterator[Symbol]:
        return chain.from_iterable(part.symbols for part in self._image.all_parts)

    def candidates(self, name: str) -> list[Symbol]:
        modules = self._image.modules
        if modules and isinstance(name, str):
            owner, colon, own = name.partition(":")
            if colon:
                plain, at, address = own.rpartition("@")
                found = modules[owner].named(plain if at else own) if owner in modules else []
                return [s for s in found if not at or f"{s.address:#x}" == address.lower()]
            parts = self._image.all_parts
            return list(chain.from_iterable(part.symbols.candidates(name) for part in parts))
        return self._kernel.candidates(name)

    def at(self, address: int) -> SymbolAt | None:
        module = self._image.module_at(address) if isinstance(address, int) else None
        return (self._kernel if module is None else module.symbols).at(address)

    def functions(self) -> Iterator[Symbol]:
        return chain.from_iterable(part.symbols.functions() for part in self._image.all_parts)

    def matching(self, pattern: str) -> list[Symbol]:
        owner, colon, own = pattern.partition(":")
        if not colon:
            parts = self._image.all_parts
            return list(chain.from_iterable(part.symbols.matching(pattern) for part in parts))
        modules = self._image.modules
        matched = [modules[name].symbols for name in modules if fnmatchcase(name, owner)]
        return list(chain.from_iterable(symbols.matching(own) for symbols in matched))

    def refuse_unmatched(self, pattern: str) -> None:
        owner, colon, own = pattern.partition(":")
        modules = self._image.modules
        if not colon:
            self._kernel.refuse_unmatched(pattern)
        for name in modules if colon else ():
            if fnmatchcase(name, owner):
                modules[name].symbols.refuse_unmatched(own)
        self._refuse_unknown(pattern)

    def unique_name(self, symbol: Symbol) -> str:
        if not self._image.modules:
            return self._kernel.unique_name(symbol)
        name = f"{symbol.module}:{symbol.name}" if symbol.module else symbol.name
        return name if len(self.candidates(name)) == 1 else f"{name}@{symbol.address:#x}"

    def any_named(self, part: bytes) -> bool:
        return self._kernel.any_named(part)

    def _refuse_unknown(self, name: str) -> None:
        owner, colon, own = name.partition(":")
        if not colon:
            self._kernel._refuse_unknown(name)
        elif owner in self._image.modules:
            self._image.modules[owner].symbols._refuse_unknown(own)
        raise SymbolError(name, f"the module {owner} is not loaded: load it first (load_module)")


class _Exceptions(ExceptionTable):
    def __init__(self, image: LoadedImage) -> None:
        self._image = image
        self.confidence = image.kernel.exception_table.confidence

    def __len__(self) -> int:
        return sum(len(part.exception_table) for part in self._image.all_parts)

    def __iter__(self) -> Iterator[ExceptionEntry]:
        return chain.from_iterable(part.exception_table for part in self._image.all_parts)

    def search(self, address: int) -> ExceptionEntry | None:
        return self._image.part(address).exception_table.search(address)

    def any_in(self, start: int, end: int) -> bool:
        return self._image.part(start).exception_table.any_in(start, end)


class _Bugs(BugTable):
    def __init__(self, image: LoadedImage) -> None:
        self._image = image
        self.confidence = image.kernel.bug_table.confidence

    def __len__(self) -> int:
        return sum(len(part.bug_table) for part in self._image.all_parts)

    def __iter__(self) -> Iterator[BugEntry]:
        return chain.from_iterable(part.bug_table for part in self._image.all_parts)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.at(address) is not None

    def at(self, address: int) -> BugEntry | None:
        return self._image.part(address).bug_table.at(address)

    def record(self, where: int) -> BugEntry | None:
        return self._image.part(where).bug_table.record(where)


class _Labels(PatchSites):
    def __init__(self, image: LoadedImage) -> None:
        self._image = image

    def of(self, part: KernelImage) -> PatchSites:
        """The table of one part."""
        return part.jump_labels

    def __len__(self) -> int:
        return sum(len(self.of(part)) for part in self._image.all_parts)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.of(part) for part in self._image.all_parts)

    def any_in(self, start: int, end: int) -> bool:
        return self.of(self._image.part(start)).any_in(start, end)


class _StaticCalls(_Labels):
    def of(self, part: KernelImage) -> PatchSites:
        return part.static_calls


class _ErrorInjections(ErrorInjection):
    def __init__(self, image: LoadedImage) -> None:
        self._image = image

    def __len__(self) -> int:
        return sum(len(part.error_injection) for part in self._image.all_parts)

    def __iter__(self) -> Iterator[tuple[int, InjectionType]]:
        return chain.from_iterable(part.error_injection for part in self._image.all_parts)

    def type_of(self, function: int) -> InjectionType | None:
        return self._image.part(function).error_injection.type_of(function)
