"""The modules beside a kernel that is no package: installed, unpacked, or in its build tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from kprobesim.image.files.source import Buffer
from kprobesim.image.modules.file import ModuleFile, module_name, read_module, read_packed
from kprobesim.image.modules.function_names import FunctionNames, collect_names

__all__ = ["ModuleFolder"]

_SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


class ModuleFolder:
    """``lib/modules/RELEASE`` in a folder that ``image`` is somewhere in, or what its build made.

    So /lib/modules/RELEASE serves for /boot/vmlinuz and for /usr/lib/debug/boot/vmlinux.
    """

    def __init__(self, image: Path, release: str) -> None:
        self._image = image
        self._release = release
        self._names: FunctionNames | None = None

    def names(self) -> list[str]:
        """The names of all modules there."""
        return list(self._files)

    def find(self, name: str) -> ModuleFile | None:
        """The module ``name``; ``None`` if there is no such."""
        path = self._files.get(name)
        return None if path is None else read_module(path)

    def read(self, name: str) -> tuple[Path, Buffer] | None:
        """The path of the module ``name``, and its bytes, packed or not."""
        path = self._files.get(name)
        return None if path is None else (path, read_packed(path))

    def function_names(self, progress: Callable[[str], None] | None = None) -> FunctionNames:
        """The functions of all of them; ``progress`` hears that they are looked through."""
        if self._names is None:
            self._names = collect_names(self.names(), self.read, progress)
        return self._names

    @cached_property
    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in self._paths():
            found.setdefault(module_name(path.name), path)
        return found

    def _paths(self) -> Iterator[Path]:
        image = self._image.resolve()
        order = image.parent / "modules.order"  # of a build: the modules in it, a line each
        if order.is_file():
            for line in order.read_text(errors="replace").splitlines():
                path = image.parent / Path(line).with_suffix(".ko")  # .o since 6.1
                if path.is_file():
                    yield path
        if not self._release or os.sep in self._release:
            return
        for folder in image.parents:
            for modules in (folder / "lib/modules", folder / "usr/lib/modules"):
                for parent, _, names in os.walk(modules / self._release):
                    yield from (Path(parent, name) for name in names if name.endswith(_SUFFIXES))
