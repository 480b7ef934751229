"""The modules in a Debian package: ``lib/modules/*/kernel/**``, unpacked once when first asked."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.files.deb import AR_MAGIC, open_data_tar
from kprobesim.image.files.source import GIB, Buffer, FileBytes, open_file
from kprobesim.image.modules.file import MAX_MODULE_SIZE, ModuleFile, module_name

__all__ = ["ModulePackage"]

_MODULE = re.compile(r"(?:\./)?(?:usr/)?lib/modules/[^/]+/.*\.ko(?:\.gz|\.xz|\.zst)?")
_LIMIT = 4 * GIB


class ModulePackage:
    """The modules in the package ``path``; a file that is no package has none."""

    def __init__(self, path: Path, progress: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._progress = progress
        self._found: dict[str, tuple[str, int, int]] | None = None
        self._data: FileBytes | None = None

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
        if place is None or self._data is None:
            return None
        file, start, size = place
        return self._path / file.removeprefix("./"), self._data[start : start + size]

    def _unpack(self) -> None:
        """Put all modules into one nameless file: looking for one in the package takes as long."""
        self._found = {}
        data = open_file(self._path)
        if bytes(data[: len(AR_MAGIC)]) != AR_MAGIC:
            return
        if self._progress is not None:
            self._progress("looking for modules in the package")
        found: dict[str, tuple[str, int, int]] = {}
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
            if at:
                self._data = FileBytes(self._path, os.dup(file.fileno()))
        self._found = found
