"""The modules of a kernel in its catalogue: their functions, types, and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import zstandard

from kprobesim.catalog.file import Catalog
from kprobesim.errors import ImageError, KprobesimError
from kprobesim.image.files.source import Buffer
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.modules.file import MAX_MODULE_SIZE, ModuleFile, function_table
from kprobesim.image.modules.finder import GIVE, ModuleFinder
from kprobesim.image.modules.function_names import FunctionNames
from kprobesim.snapshot.packing import PackingError, pack, pack_value, unpack, unpack_value

__all__ = ["ModuleStore", "PackedModules", "StoredFinder", "pack_modules"]

_GROUP = 4 << 20
_GROUPS_KEPT = 2
_ELF = b"\x7fELF"
_ZSTD = b"\x28\xb5\x2f\xfd"


class PackedModules(NamedTuple):
    """What :func:`pack_modules` gives.

    Attributes:
        sections: For the catalogue.
        functions: Module, name and size of each function, for its rows.
        problems: What is wrong with modules that could not be read.
    """

    sections: dict[str, bytes]
    functions: list[tuple[str, str, int]]
    problems: list[str]


def pack_modules(finder: ModuleFinder, *, files: bool) -> PackedModules:
    """All modules that can be had.

    Args:
        finder: Finds them.
        files: Keep the modules themselves, too: only then can places in them be judged.
    """
    functions: list[tuple[str, str, int]] = []
    problems: list[str] = []
    text = bytearray()
    groups = {"files": [bytearray()], "types": [bytearray()]}
    places: dict[str, dict[str, list[int]]] = {}
    compress = zstandard.ZstdCompressor(level=3).compress

    def keep(module: str, what: str, kind: str, data: bytes) -> None:
        group = groups[kind]
        if len(group[-1]) > _GROUP:
            group.append(bytearray())
        places[module][what] = [len(group) - 1, len(group[-1]), len(data)]
        group[-1] += data

    for name in finder.names():
        try:
            found = finder.read(name)
            file = ModuleFile(*found)
            own = function_table(file.path, file.data)
        except ImageError as error:
            problems.append(str(error))
            continue
        places[name] = {}
        text += FunctionNames.text_of(name, (function for function, _ in own))
        functions += [(name, _text(function), size) for function, size in own]
        for section in (".BTF", ".BTF.base"):
            types = file.section(section)
            if types is not None:
                keep(name, section, "types", compress(file.contents(types)))
        if files:
            data = bytes(found[1][:])
            keep(name, "file", "files", compress(data) if data.startswith(_ELF) else data)
            places[name]["path"] = [str(found[0])]  # type: ignore[list-item]
    sections = {
        f"modules/{kind}/{number}": bytes(group)
        for kind, kinds in groups.items()
        for number, group in enumerate(kinds)
        if group
    }
    sections["modules/places"] = pack_value(places)
    sections["modules/functions"] = pack(bytes(text))
    return PackedModules(sections, functions, problems)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


class ModuleStore:
    """The modules in ``catalog``: a source of modules for a finder."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._group = lru_cache(maxsize=_GROUPS_KEPT)(catalog.section)

    @cached_property
    def _places(self) -> Mapping[str, Mapping[str, Any]]:
        if "modules/places" not in self._catalog.sections:
            return {}
        try:
            places = unpack_value(self._catalog.section("modules/places"))
            every = places.values() if isinstance(places, dict) else [None]
            if not all(isinstance(place, dict) for place in every):
                raise PackingError("no module is anywhere")
        except PackingError as error:
            raise self._catalog.damaged(str(error)) from error
        return cast("dict[str, dict[str, Any]]", places)

    def names(self) -> list[str]:
        """The names of all modules of the kernel."""
        return list(self._places)

    def find(self, name: str) -> ModuleFile | None:
        """The module ``name``; ``None`` if it is not in it."""
        found = self.read(name)
        return None if found is None else ModuleFile(*found)

    def read(self, name: str) -> tuple[Path, Buffer] | None:
        """The path that the module ``name`` had, and its bytes, packed or not."""
        data = self._part(name, "file", "files")
        if data is None:
            return None
        try:
            path = Path(self._places[name]["path"][0])
            if data.startswith(_ZSTD):
                return path, unpack(data, limit=MAX_MODULE_SIZE)
        except (PackingError, LookupError, TypeError) as error:
            raise self._catalog.damaged(f"its module {name} cannot be read ({error})") from error
        return path, data

    def types(self, name: str) -> tuple[bytes, bytes | None] | None:
        """``.BTF`` and ``.BTF.base`` of the module ``name``; ``None`` if it has no types."""
        parts = [self._part(name, section, "types") for section in (".BTF", ".BTF.base")]
        try:
            types, base = (None if p is None else unpack(p, limit=MAX_MODULE_SIZE) for p in parts)
        except PackingError as error:
            raise self._catalog.damaged(f"its module {name} cannot be read ({error})") from error
        return None if types is None else (types, base)

    def function_names(self, progress: Callable[[str], None] | None = None) -> FunctionNames:
        """The functions of all of them; there is nothing to tell ``progress``."""
        return self._functions

    @cached_property
    def _functions(self) -> FunctionNames:
        try:
            return FunctionNames(unpack(self._catalog.section("modules/functions")))
        except PackingError as error:
            raise self._catalog.damaged(str(error)) from error

    def _part(self, name: str, what: str, kind: str) -> bytes | None:
        place = self._places.get(name, {}).get(what)
        if place is None:
            return None
        try:
            group, at, size = place
            data = bytes(self._group(f"modules/{kind}/{int(group)}")[at : at + size])
            if len(data) != size:
                raise ValueError("it is cut short")
        except (TypeError, ValueError) as error:
            if isinstance(error, KprobesimError):
                raise
            raise self._catalog.damaged(f"its module {name} cannot be read ({error})") from error
        return data


class StoredFinder(ModuleFinder):
    """Finds the modules of ``image`` in its catalogue."""

    def __init__(self, image: KernelImage, store: ModuleStore) -> None:
        super().__init__(image, sources=[store])
        self.store = store

    def missing(self, name: str) -> str:
        """Why the module ``name`` is not found, and what to do."""
        if name in self.store.names():
            return f"the code of its module {name} is not kept in the catalogue; {GIVE}"
        return f"no module {name} in it; {GIVE}"

    def with_function(self, symbol: str) -> list[str]:
        """All modules of the catalogue that have a function ``symbol``."""
        return list(self.store.function_names().modules_with(symbol))
