"""``ModuleFinder``: the modules that can be had for a kernel, wherever they lie."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from kprobesim.errors import ImageError
from kprobesim.image.files.source import Buffer
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.modules.file import (
    ModuleFile,
    module_name,
    read_module,
    read_packed,
)
from kprobesim.image.modules.folder import ModuleFolder
from kprobesim.image.modules.function_names import FunctionNames, collect_names
from kprobesim.image.modules.package import ModulePackage

__all__ = ["ModuleFinder", "ModuleSource"]

_VERMAGIC = re.compile(rb"[ -~]{,200}mod_unload[ -~]{,100}")
_MOST_NAMED = 4
#: What to do if a module is not found.
GIVE = "give the path of its .ko file (--module)"


class ModuleSource(Protocol):
    """Where modules lie."""

    def names(self) -> list[str]:
        """The names of all modules there."""

    def find(self, name: str) -> ModuleFile | None:
        """The module ``name``; ``None`` if it is not there."""

    def read(self, name: str) -> tuple[Path, Buffer] | None:
        """The path of the module ``name``, and its bytes, packed or not."""

    def function_names(self, progress: Callable[[str], None] | None = None) -> FunctionNames:
        """The functions of all of them; ``progress`` hears if that takes long."""


class ModuleFinder:
    """Finds modules for ``image`` by name.

    They are offered as files, or come with the kernel: in its package, in the package with its
    modules beside that, in its lib/modules or its build tree.

    Args:
        image: The kernel.
        progress: Hears what takes long.
        sources: Where the kernel's modules are instead.
    """

    def __init__(
        self,
        image: KernelImage,
        progress: Callable[[str], None] | None = None,
        sources: Sequence[ModuleSource] | None = None,
    ) -> None:
        self._image = image
        self._progress = progress
        self._only = sources
        self._files: dict[str, Path] = {}
        self._package = ModulePackage(image.path, progress)
        self._folder = ModuleFolder(image.path, image.release)

    @property
    def image(self) -> KernelImage:
        """The kernel that they are for."""
        return self._image

    @property
    def _is_package(self) -> bool:
        return self._image.container.startswith("Debian package")

    @cached_property
    def _sources(self) -> Sequence[ModuleSource]:
        if self._only is not None:
            return self._only
        beside = []
        if self.package_of_modules and not self._package.names():
            pattern = f"{self.package_of_modules}_*.deb"
            paths = sorted(self._image.path.parent.glob(pattern))
            beside = [ModulePackage(path, self._progress) for path in paths]
        return [self._package, *beside, self._folder]

    @property
    def package_of_modules(self) -> str | None:
        """The package that a kernel's modules are in if its own has none (Debian since 7.2)."""
        known = self._is_package and self._image.release
        return f"linux-modules-{self._image.release}" if known else None

    def offer(self, path: str | os.PathLike[str]) -> str:
        """Let the module in the file ``path`` be found by its name, which is returned.

        Raises:
            ImageError: It is no module for this kernel.
        """
        file = read_module(Path(path))
        self.check(file)
        self._files[file.name] = Path(path)
        return file.name

    def find(self, name: str) -> ModuleFile | None:
        """An offered module, or one of those that came with the kernel; else ``None``."""
        name = name.replace("-", "_")
        if name in self._files:
            return read_module(self._files[name])
        found = (source.find(name) for source in self._sources)
        return next((file for file in found if file is not None), None)

    def read(self, name: str) -> tuple[Path, Buffer]:
        """The path of a module of :meth:`names`, and its bytes, packed or not.

        Raises:
            ImageError: There is no such module, or it cannot be read.
        """
        if name in self._files:
            return self._files[name], read_packed(self._files[name])
        found = (source.read(name) for source in self._sources)
        module = next((one for one in found if one is not None), None)
        if module is None:
            raise ImageError(self._image.path, self.missing(name))
        return module

    def names(self) -> list[str]:
        """The names of all that come with the kernel or were offered."""
        return sorted(
            {*self._files, *(name for source in self._sources for name in source.names())}
        )

    def missing(self, name: str) -> str:
        """Why the module ``name`` is not found, and what to do."""
        if self._is_package and self.names():
            return f"no module {name} in it; {GIVE}"
        if self.package_of_modules:
            return (
                f"no module {name} in it: its modules are in the package "
                f"{self.package_of_modules}; put that beside it, or {GIVE}"
            )
        return f"no module {name} is beside it; {GIVE}"

    def load(self, module: str | os.PathLike[str]) -> ModuleFile:
        """The module of that name, or in the file of that path.

        Raises:
            ImageError: There is none, or it is no module.
        """
        text = os.fspath(module)
        if not isinstance(module, str) or os.sep in text or ".ko" in text:
            return read_module(Path(text))
        found = self.find(text)
        if found is None:
            raise ImageError(self._image.path, self.missing(text))
        return found

    def beside(self, file: ModuleFile, name: str) -> ModuleFile | None:
        """The module ``name`` in the folder that ``file`` is from."""
        folder = file.path.parent
        if not folder.is_dir():
            return None
        paths = [path for path in sorted(folder.glob("*.ko*")) if module_name(path.name) == name]
        return read_module(paths[0]) if paths else None

    def needed(self, file: ModuleFile, name: str) -> ModuleFile:
        """The module ``name``, which ``file`` depends on.

        Raises:
            ImageError: It cannot be found.
        """
        found = self.find(name) or self.beside(file, name)
        if found is None:
            raise ImageError(file.path, f"depends on the module {name}: load that first")
        return found

    def with_function(self, symbol: str) -> list[str]:
        """The first modules that have a function ``symbol``."""
        offered = collect_names(list(self._files), self.read)
        found = set(offered.modules_with(symbol))
        known = set(self._files)
        for source in self._sources:
            with_it = source.function_names(self._progress).modules_with(symbol)
            found.update(name for name in with_it if name not in known)
            known.update(source.names())
        return sorted(found)[:_MOST_NAMED]

    # -- for this kernel -------------------------------------------------------------------------

    def check(self, file: ModuleFile) -> None:
        """Whether the module was built for this kernel (check_modinfo()).

        Raises:
            ImageError: It was not.
        """
        image = self._image
        if file.arch != image.arch:
            raise ImageError(file.path, f"is a module for {file.arch}; the kernel is {image.arch}")
        wanted = self.vermagic
        if wanted is None:  # it was built without modules: its release must do
            same = not image.release or file.vermagic.split(" ")[0] == image.release
            wanted = image.release
        else:
            same = file.vermagic == wanted
        if not same:
            raise ImageError(
                file.path,
                f"was built for another kernel: its vermagic is {file.vermagic.strip()!r}, "
                f"the kernel's is {wanted.strip()!r}",
            )

    @cached_property
    def vermagic(self) -> str | None:
        """The kernel's own vermagic; ``None`` if it has none."""
        release = self._image.release.encode()
        if not release:
            return None
        for segment in self._image.segments:
            data = bytes(segment.data)
            at = data.find(release + b" ")
            while at >= 0:
                end = data.find(b"\0", at)
                if _VERMAGIC.fullmatch(data[at:end]):
                    return data[at:end].decode()
                at = data.find(release + b" ", at + 1)
        return None
