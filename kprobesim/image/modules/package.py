"""The modules in a Debian package: ``lib/modules/*/kernel/**``, unpacked once when first asked."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kprobesim.errors import ImageError
from kprobesim.image.cache import keep
from kprobesim.image.files.deb import AR_MAGIC, open_data_tar
from kprobesim.image.files.source import GIB, Buffer, FileBytes, open_file
from kprobesim.image.modules.file import MAX_MODULE_SIZE, ModuleFile, module_name
from kprobesim.image.modules.function_names import FunctionNames, collect_names
from kprobesim.snapshot.container import Container
from kprobesim.snapshot.packing import PackingError, pack, unpack

__all__ = ["ModulePackage"]

_MODULE = re.compile(r"(?:\./)?(?:usr/)?lib/modules/[^/]+/.*\.ko(?:\.gz|\.xz|\.zst)?")
_LIMIT = 4 * GIB
#: Larger ones are not kept for the next process: reading them all would take a second.
_MOST_KEPT = 512 << 20

#: A module's file in the package, and where its bytes are among those of all.
_Place = tuple[str, int, int]
_Modules = tuple[dict[str, _Place], Buffer]


class ModulePackage:
    """The modules in the package ``path``; a file that is no package has none."""

    def __init__(self, path: Path, progress: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._progress = progress
        self._found: dict[str, _Place] | None = None
        self._data: Buffer = b""
        self._names: FunctionNames | None = None

    def names(self) -> list[str]:
        """The names of all modules in it."""
        if self._found is None:
            self._unpack()
        return list(self._found or ())

    def find(self, name: str) -> ModuleFile | None:
        """The module ``name``; ``None`` if the package has no such module."""
        found = self.read(name)
        return None if found is None else ModuleFile(*found)

    def read(self, name: str) -> tuple[Path, Buffer] | None:
        """The path in the package of the module ``name``, and its bytes, packed or not."""
        if self._found is None:
            self._unpack()
        place = (self._found or {}).get(name)
        if place is None:
            return None
        file, start, size = place
        return self._path / file.removeprefix("./"), self._data[start : start + size]

    def function_names(self, progress: Callable[[str], None] | None = None) -> FunctionNames:
        """The functions of all of them, kept for the next process; ``progress`` hears of work."""
        if self._names is None:
            names = self.names()
            self._names = FunctionNames()
            if names:
                self._names = keep(
                    open_file(self._path),
                    "functions",
                    _kept_names,
                    lambda: collect_names(names, self.read, progress),
                    lambda found: ({}, {"names": pack(found.text)}),
                )
        return self._names

    def _unpack(self) -> None:
        """Find all modules: looking for one in the package takes as long."""
        data = open_file(self._path)
        if bytes(data[: len(AR_MAGIC)]) == AR_MAGIC:
            found, self._data = keep(data, "modules", _kept, lambda: self._extract(data), _packed)
        else:
            found = {}
        self._found = found

    def _extract(self, data: Buffer) -> _Modules:
        """Put all modules into one nameless file."""
        if self._progress is not None:
            self._progress("looking for modules in the package")
        found: dict[str, _Place] = {}
        at = 0
        with (
            tempfile.TemporaryFile(prefix="kprobesim-") as file,
            open_data_tar(self._path, data) as members,
        ):
            for tar, member in members:
                if not member.isfile() or not _MODULE.fullmatch(member.name):
                    continue
                source = tar.extractfile(member)
                at += member.size
                if source is None or member.size > MAX_MODULE_SIZE or at > _LIMIT:
                    raise ImageError(self._path, f"its {member.name} is larger than any module")
                file.write(source.read(member.size))
                place = member.name, at - member.size, member.size
                found.setdefault(module_name(member.name), place)
            file.flush()
            return found, FileBytes(self._path, os.dup(file.fileno())) if at else b""


def _kept_names(container: Container) -> FunctionNames:
    """What was found in an earlier run; raises :class:`SnapshotError`."""
    try:
        return FunctionNames(unpack(container.section("names")))
    except PackingError as error:
        raise container.damaged(str(error)) from error


def _packed(modules: _Modules) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """An entry of the cache."""
    found, data = modules
    return ({"places": found}, {"modules": bytes(data)}) if len(data) <= _MOST_KEPT else None


def _kept(container: Container) -> _Modules:
    """What :func:`_packed` was given; raises :class:`SnapshotError`."""
    data = container.section("modules")
    places = container.facts.get("places")
    if not isinstance(places, dict):
        raise container.damaged("it does not say where modules are")
    found: dict[str, _Place] = {}
    for name, place in places.items():
        try:
            file, start, size = str(place[0]), int(place[1]), int(place[2])
        except (LookupError, TypeError, ValueError) as error:
            raise container.damaged(f"a module is nowhere ({error})") from error
        if not 0 <= start <= start + size <= len(data):
            raise container.damaged(f"the module {name} lies outside")
        found[name] = file, start, size
    return found, bytes(data)
