"""``KernelRules``: a kernel whose rules for probes can be asked, and whose code read. Nothing runs.

There is no CPU in it: what a running kernel would answer follows from its image, the text as boot
leaves it, and the model of its kprobes.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kprobesim.catalog.file import Catalog, is_catalog, open_catalog
from kprobesim.errors import GuestMemoryError, ImageError, Reason, UsageError
from kprobesim.image import KernelImage, SymbolTable, load_image
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.image.modules.file import ModuleFile
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.image.modules.link import Linker
from kprobesim.image.modules.store import ModuleStore, StoredFinder
from kprobesim.image.placement import module_area, virtual_minus_ram
from kprobesim.image.state import page_reader, unpack_image
from kprobesim.image.stored import StoredImage, pack_stored, unpack_stored
from kprobesim.kernel.other_kinds import no_such_verb
from kprobesim.kernel.verdicts import Verdicts
from kprobesim.kprobes.model import Model, known_model, model_of
from kprobesim.kprobes.model_facts import own_facts, with_facts
from kprobesim.kprobes.rules.own_code import own_model
from kprobesim.kprobes.rules.rules import Read, Rules
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.patching.running_text import module_text, running_text
from kprobesim.patching.text import code_areas
from kprobesim.sizes import PAGE
from kprobesim.snapshot.container import is_snapshot, read_container
from kprobesim.snapshot.pages import PagesError

__all__ = ["KernelRules", "Opened", "open_kernel", "open_rules", "pack_kernel"]


def open_rules(
    path: str | os.PathLike[str],
    *,
    symbols: str | os.PathLike[str] | None = None,
    model: str | None = None,
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
) -> KernelRules:
    """Open a kernel image, a package or a snapshot to ask what it says to probes.

    >>> rules = open_rules("vmlinux")
    >>> rules.check("vfs_read+0x10").errno
    0

    Args:
        path: A vmlinux, bzImage, ARM64 Image, Debian package with a kernel, snapshot or catalogue.
        symbols: A file to take the symbols from, for an image without any.
        model: The kernel whose kprobes to imitate; by default the image's own.
        strict: Imitate it also where it is wrong.
        progress: Hears what takes long, such as unpacking a package.

    Raises:
        ImageError: The file is no usable kernel.
        SnapshotError: The file is a damaged snapshot.
        CatalogError: The file is a damaged catalogue.
        UsageError: There is no such model.
    """
    opened = open_kernel(path, symbols=symbols, model=model, strict=strict, progress=progress)
    return opened.make_rules()


class Opened(NamedTuple):
    """A kernel that was opened.

    Attributes:
        image: The kernel.
        make_rules: Makes the rules of it, which takes longer.
        catalog: The catalogue that it is in; ``None``: it is in none.
    """

    image: KernelImage
    make_rules: Callable[[], KernelRules]
    catalog: Catalog | None = None


def open_kernel(
    path: str | os.PathLike[str],
    *,
    symbols: str | os.PathLike[str] | None = None,
    model: str | None = None,
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Opened:
    """Open what :func:`open_rules` does, for those who may not need its rules.

    Args:
        path: As there.
        symbols: As there.
        model: As there.
        strict: As there.
        progress: As there.

    Raises:
        ImageError: The file is no usable kernel.
        SnapshotError: The file is a damaged snapshot.
        CatalogError: The file is a damaged catalogue.
        UsageError: There is no such model.
    """
    wanted = known_model(model)
    if is_snapshot(path):
        if symbols is not None:
            raise UsageError(f"symbols are for images; {os.fspath(path)} is a snapshot")
        stored, read = _open_snapshot(Path(path))
        return Opened(stored, lambda: KernelRules(stored, read, wanted, strict=strict))
    if is_catalog(path):
        if symbols is not None:
            raise UsageError(f"symbols are for images; {os.fspath(path)} is a catalogue")
        catalog = open_catalog(path)
        known = unpack_stored(catalog)

        def rules_of_catalog() -> KernelRules:
            model = wanted or _stored_model(catalog, known)
            finder = StoredFinder(known, ModuleStore(catalog))
            return KernelRules(known, known.read_code, model, strict=strict, finder=finder)

        return Opened(known, rules_of_catalog, catalog)
    image = load_image(path, symbols=symbols, progress=progress)

    def make_rules() -> KernelRules:
        finder = ModuleFinder(image, progress)
        return KernelRules(image, running_text(image).read, wanted, strict=strict, finder=finder)

    return Opened(image, make_rules)


def pack_kernel(rules: KernelRules) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Facts and sections of a catalogue of which :func:`open_kernel` makes the kernel again.

    Raises:
        ImageError: It is damaged where something that is packed lies.
    """
    image = rules.image.kernel
    code = [(start, memoryview(rules.read(start, len(data)))) for start, data in code_areas(image)]
    facts, sections = pack_stored(image, code)
    return {**facts, "model": own_facts(rules.model)}, sections


def _stored_model(catalog: Catalog, image: StoredImage) -> Model:
    """The model of the kernel in ``catalog``, as its own code had it."""
    try:
        return with_facts(model_of(image.version), catalog.facts.get("model"))
    except ValueError as error:
        raise catalog.damaged(f"it has {error}") from error


def _open_snapshot(path: Path) -> tuple[KernelImage, Read]:
    """The kernel in a snapshot, and its code as it stood in RAM."""
    container = read_container(path)
    pages = page_reader(container)
    image = unpack_image(container, pages)
    memory = container.facts.get("memory")
    if type(memory) is not int or memory <= 0 or memory % PAGE:
        raise container.damaged("it does not say how much memory the guest has")
    ram = mmap.mmap(-1, memory)
    try:
        pages.fill(ram, container.section("ram"))
    except PagesError as error:
        raise container.damaged(str(error)) from error
    delta, end = virtual_minus_ram(image), image.segments[-1].end

    def read(address: int, size: int) -> bytes:
        at = address - delta
        if not image.segments[0].vaddr <= address <= end - size or at + size > memory:
            raise ImageError(image.path, f"has nothing at {address:#x}")
        return ram[at : at + size]

    return image, read


class KernelRules(Verdicts):
    """The rules of one kernel.

    Attributes:
        image: The kernel, with the modules that have been brought.
        rules: The pipeline that judges.
        finder: Where modules are to be had; ``None`` for a snapshot.
    """

    def __init__(
        self,
        image: KernelImage,
        read: Read,
        model: Model | None = None,
        *,
        strict: bool = False,
        finder: ModuleFinder | None = None,
    ) -> None:
        self.image = LoadedImage(image)
        self.finder = finder
        self._read_kernel = read
        self._text_of: dict[str, Read] = {}
        self._next_module, _ = module_area(image)
        model = model or own_model(image)
        self.rules = Rules(self.image, self.read, model, strict=strict)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> None:
            """Say where a verb is to be had that kernels have which run."""
            no_such_verb(self, name)

    def __repr__(self) -> str:
        return f"<KernelRules {self.version or self.image.path.name} {self.arch}>"

    @property
    def arch(self) -> str:
        """The architecture: "x86_64" or "arm64"."""
        return self.image.arch

    @property
    def version(self) -> str:
        """What ``uname -r`` prints on it."""
        return self.image.release

    @property
    def model(self) -> Model:
        """The kernel whose kprobes are imitated."""
        return self.rules.model

    @property
    def symbols(self) -> SymbolTable:
        """All symbols: ``rules.symbols["name"]``, ``rules.symbols.at(address)``."""
        return self.image.symbols

    def read(self, address: int, size: int) -> bytes:
        """Code as it runs once the kernel has booted.

        Raises:
            GuestMemoryError: None of kernel or modules is there.
        """
        module = self.image.module_at(address)
        read = self._read_kernel if module is None else self._text_of[module.name]
        try:
            return read(address, size)
        except ImageError:
            raise GuestMemoryError(address, size, "read") from None

    def _rules(self) -> Rules:
        return self.rules

    def _look_for(self, symbol_name: str | None) -> None:
        """A ``"module:symbol"`` brings its module, if that is to be had."""
        module, colon, _ = (symbol_name or "").partition(":")
        if colon:
            self.bring(module)

    def _explained(self, verdict: Verdict, *, suggest: bool) -> Verdict:
        """A refusal with what the files around the kernel tell of it."""
        name = (verdict.symbol or "").partition("+")[0]
        if self.finder is None:
            return verdict
        if verdict.reason is Reason.MODULE_NOT_LOADED and verdict.module is not None:
            why = self.finder.missing(verdict.module)
            return replace(verdict, message=f"{self.image.path.name}: {why}")
        if verdict.reason is Reason.UNKNOWN_SYMBOL and suggest and ":" not in name:
            modules = self.finder.with_function(name)
            if modules:
                others = f" (also in {', '.join(modules[1:])})" if modules[1:] else ""
                return replace(
                    verdict,
                    module=modules[0],
                    message=f"{name} is in module {modules[0]}{others}, and no symbol of the "
                    f"kernel itself: ask for {modules[0]}:{name}",
                )
        return verdict

    # -- modules ---------------------------------------------------------------------------------

    def offer(self, path: str | os.PathLike[str]) -> str:
        """Let the module in the file ``path`` be found by its name, which is returned.

        Raises:
            ImageError: It is no module for this kernel.
            UsageError: This is a snapshot.
        """
        if self.finder is None:
            raise UsageError(f"modules are for images; {self.image.path} is a snapshot")
        return self.finder.offer(path)

    def bring(self, name: str) -> bool:
        """Let the module ``name`` and what it depends on be loaded; false if it is not found.

        Raises:
            ImageError: It is no module for this kernel.
        """
        name = name.replace("-", "_")
        if self.image.has_module(name):
            return True
        file = self.finder.find(name) if self.finder is not None else None
        if file is None:
            return False
        self._link(file, ())
        return True

    def _link(self, file: ModuleFile, users: tuple[str, ...]) -> None:
        """Give it the next free addresses, its symbols and its text as loading leaves it."""
        assert self.finder is not None
        if file.name in users:
            raise ImageError(file.path, f"depends on itself: {' -> '.join((*users, file.name))}")
        self.finder.check(file)
        for name in file.depends:
            if not self.image.has_module(name):
                self._link(self.finder.needed(file, name), (*users, file.name))
        linker = Linker(file)
        core = self._take(linker.core_size)
        init = self._take(linker.init_size)
        percpu = self._take(linker.percpu_size)
        image = linker.link(
            core,
            init,
            percpu,
            self.image.exported_to_modules,
            self.image.read,  # a key may be another module's
            self.image.banner,
        )
        self._text_of[image.name] = module_text(image, self.image.kernel).read
        loaded = image.without_init()
        self.image.add(loaded)
        self.rules.blacklist.add_module(loaded)

    def _take(self, size: int) -> int:
        start = self._next_module
        self._next_module = start + (max(size, 1) + PAGE - 1 & -PAGE)
        return start
