"""``KnownKernel``: all that can be asked of one kernel that does not run, each made when asked.

Tables of probes, types, differences and catalogues ask kernels through this, whatever they are
read from: an image, a package, a snapshot, a catalogue.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from kprobesim.errors import UsageError
from kprobesim.functions.facts import FunctionFacts
from kprobesim.functions.functions import open_functions
from kprobesim.image import KernelImage, Symbol, SymbolTable
from kprobesim.image.config import read_config
from kprobesim.image.modules.file import ModuleFile
from kprobesim.image.tables.error_injection import InjectionType
from kprobesim.image.tables.tracepoints import raw_tracepoints, trace_events
from kprobesim.kernel.offline import KernelRules, Opened, open_kernel
from kprobesim.types.btf import Btf
from kprobesim.types.module_types import module_types

__all__ = ["FactSource", "KnownKernel", "open_known"]


class FactSource(Protocol):
    """Whoever tells what became of functions: their code and types, or a catalogue."""

    @property
    def strings(self) -> frozenset[bytes]:
        """The kernel's constants that could be names of functions."""

    def names(self) -> list[str]:
        """All functions that are known of."""

    def facts(self, name: str) -> FunctionFacts:
        """What became of the function ``name``."""

    def facts_of_all(self) -> Iterator[FunctionFacts]:
        """The facts of each of :meth:`names`."""


def open_known(
    path: str | os.PathLike[str],
    *,
    symbols: str | os.PathLike[str] | None = None,
    model: str | None = None,
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
) -> KnownKernel:
    """Open a kernel to be asked anything.

    >>> kernel = open_known("vmlinux")
    >>> kernel.rules.check("vfs_read").errno
    0

    Args:
        path: A vmlinux, bzImage, ARM64 Image, package with a kernel, snapshot or catalogue.
        symbols: A file to take the symbols from, for an image without any.
        model: The kernel whose kprobes to imitate; by default the image's own.
        strict: Imitate it also where it is wrong.
        progress: Hears what takes long.

    Raises:
        ImageError: The file is no usable kernel; attributes may raise it later, when they are
            asked for, if the file is damaged there.
        SnapshotError: The file is a damaged snapshot.
        CatalogError: The file is a damaged catalogue.
        UsageError: There is no such model.
    """
    opened = open_kernel(path, symbols=symbols, model=model, strict=strict, progress=progress)
    if opened.catalog is not None:
        from kprobesim.survey.cataloged import CatalogedKernel  # which is one of these

        return CatalogedKernel(Path(path), opened, opened.catalog)
    return KnownKernel(Path(path), opened, progress)


class KnownKernel:
    """One kernel. What an attribute needs is read when it is first asked for, once.

    Attributes:
        path: The file that it was opened from.
        image: The kernel itself, without modules.
    """

    def __init__(
        self, path: Path, opened: Opened, progress: Callable[[str], None] | None = None
    ) -> None:
        self._progress = progress
        self.path = path
        self.image: KernelImage = opened.image
        self._make_rules = opened.make_rules
        self._module_btf: dict[str, Btf | None] = {}

    def __repr__(self) -> str:
        return f"<KnownKernel {self.name} {self.arch}>"

    # -- which it is -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What to call it: its release, or its file's name if it has none."""
        return self.release or self.path.name

    @property
    def release(self) -> str:
        """What ``uname -r`` prints on it, or ``""``."""
        return self.image.release

    @property
    def version(self) -> tuple[int, ...]:
        """``(6, 1, 192)``; shorter where that is not known."""
        return self.image.version

    @property
    def arch(self) -> str:
        """The architecture's name."""
        return self.image.arch

    @property
    def build_id(self) -> str | None:
        """The GNU build ID in hex digits; ``None`` if it has none."""
        return self.image.build_id

    # -- what it says to probes ------------------------------------------------------------------

    @cached_property
    def rules(self) -> KernelRules:
        """Its rules for probes, and its code as it runs once booted."""
        return self._make_rules()

    @property
    def symbols(self) -> SymbolTable:
        """The kernel's symbols; those of modules that were brought are in ``rules.symbols``."""
        return self.image.symbols

    @cached_property
    def traced_functions(self) -> Mapping[int, str]:
        """What ``available_filter_functions`` lists once it has booted: names by address.

        The address is the symbol's, not that of the site which ftrace patches. Functions of init
        are gone by then.
        """
        found = {}
        for site in sorted(filter(self.image.is_kernel_text, self.image.ftrace_sites)):
            at = self.symbols.at(site)
            if at is not None:
                found[at.symbol.address] = at.symbol.name
        return found

    @cached_property
    def error_injection(self) -> Mapping[int, InjectionType]:
        """The functions that may be made to fail (``error_injection/list``), by address."""
        return dict(self.image.error_injection)

    @cached_property
    def raw_tracepoints(self) -> frozenset[str]:
        """All tracepoints, also those that have no event: ``"sched_switch"``."""
        return raw_tracepoints(self.symbols.columns.names)

    @cached_property
    def trace_events(self) -> frozenset[str]:
        """All events of tracefs, those of system calls counted: ``"sched:sched_switch"``."""
        return trace_events(self.image)

    @cached_property
    def functions(self) -> FactSource:
        """What became of each function: inlined, cloned, called by whom, with which arguments."""
        return open_functions(self.rules.image, self.rules.read, self.btf, progress=self._progress)

    def functions_by(self, debug: Path) -> FactSource:
        """The same, with what the debug information in ``debug`` tells of inlined copies.

        Args:
            debug: The vmlinux of this very build.

        Raises:
            ImageError: It is of another build, has no debug information, or is damaged.
            UsageError: symbolic, which reads it, is not installed.
        """
        return open_functions(
            self.rules.image, self.rules.read, self.btf, debug=debug, progress=self._progress
        )

    # -- what it is made of ----------------------------------------------------------------------

    @property
    def btf(self) -> Btf | None:
        """Its types; ``None`` without CONFIG_DEBUG_INFO_BTF."""
        return self.image.btf

    @cached_property
    def config(self) -> Mapping[str, str] | None:
        """Its options, ``{"CONFIG_BPF": "y"}``; ``None`` where nobody tells."""
        return read_config(self.image)

    @cached_property
    def event_texts(self) -> Mapping[str, str]:
        """What it says to each error in definitions of ``kprobe_events``, by the error's name."""
        from kprobesim.trace.kernel_facts import event_texts

        return event_texts(self.image)

    # -- modules ---------------------------------------------------------------------------------

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules that can be had for it, in order."""
        finder = self.rules.finder
        return () if finder is None else tuple(finder.names())

    def modules_with(self, function: str) -> tuple[str, ...]:
        """The first modules that have a function of that name."""
        finder = self.rules.finder
        return () if finder is None else tuple(finder.with_function(function))

    def module_symbols(self, module: str) -> tuple[Symbol, ...]:
        """The symbols of a module, at addresses that it might be loaded to; none if unknown.

        Raises:
            ImageError: The module is damaged, or of another kernel.
        """
        if not self.rules.bring(module):
            return ()
        return tuple(self.rules.image.modules[module.replace("-", "_")].symbols)

    def module_file(self, module: str) -> ModuleFile | None:
        """The module as it lies on disk; ``None`` if it cannot be had.

        Raises:
            ImageError: It is damaged.
        """
        finder = self.rules.finder
        return None if finder is None else finder.find(module)

    def module_btf(self, module: str) -> Btf | None:
        """The types of a module, which go on from the kernel's; ``None`` if it has none.

        Raises:
            ImageError: It is damaged.
            TypesError: Its types are damaged.
            UsageError: There is no such module.
        """
        if module not in self._module_btf:
            found = self.module_types(module)
            source = f"{self.name}: {module}"
            self._module_btf[module] = (
                None
                if found is None or self.btf is None
                else module_types(*found, self.btf, source)
            )
        return self._module_btf[module]

    def module_types(self, module: str) -> tuple[bytes, bytes | None] | None:
        """The sections ``.BTF`` and ``.BTF.base`` of a module; ``None`` without.

        Raises:
            ImageError: It is damaged.
            UsageError: There is no such module.
        """
        file = self.module_file(module)
        if file is None:
            raise UsageError(f"{self.name}: no module {module} can be had")
        types, base = file.section(".BTF"), file.section(".BTF.base")
        if types is None:
            return None
        return file.contents(types), None if base is None else file.contents(base)
