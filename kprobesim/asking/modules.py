"""Modules for a guest's initial file system, with what BusyBox's modprobe needs to load them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kprobesim.boot.initramfs import Entry, regular_file
from kprobesim.errors import ImageError
from kprobesim.image.modules.file import ModuleFile
from kprobesim.image.modules.finder import ModuleFinder

__all__ = ["module_files", "named_modules", "probed_modules"]

_PROBED = re.compile(r"\s*[pr]\S*\s+([\w-]+):[A-Za-z_]", re.ASCII)
_LOADING = re.compile(r"\b(?:modprobe|insmod)\b([^;&|\n]*)")


def named_modules(lines: Iterable[str]) -> list[str]:
    """The modules that lines of shell load by ``modprobe`` or ``insmod``, by name."""
    found: dict[str, None] = {}
    for line in lines:
        for words in _LOADING.findall(line):
            names = [word for word in words.split() if not word.startswith("-") and "=" not in word]
            found.update(dict.fromkeys(_plain(name) for name in names))
    return list(found)


def probed_modules(definitions: Iterable[str]) -> list[str]:
    """The modules that definitions of events name, as in ``p null_blk:null_add_dev``."""
    found = filter(None, map(_PROBED.match, definitions))
    return list(dict.fromkeys(match[1].replace("-", "_") for match in found))


def _plain(name: str) -> str:
    return name.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def module_files(finder: ModuleFinder, names: Iterable[str]) -> dict[str, bytes | Entry]:
    """The files by which a guest's ``modprobe`` finds the modules ``names`` of its kernel.

    Args:
        finder: Finds modules of the kernel.
        names: Modules that it finds, in any order; those that they depend on are added.

    Raises:
        ImageError: One is not to be had.
    """
    found: dict[str, ModuleFile] = {}
    for name in sorted({name.replace("-", "_") for name in names}):
        _add(finder, finder.load(name), found, ())
    if not found:
        return {}
    folder = f"lib/modules/{finder.image.release}"
    files: dict[str, bytes | Entry] = {
        f"{folder}/{name}.ko": regular_file(bytes(file.data[:])) for name, file in found.items()
    }
    lines = [
        f"{name}.ko:{''.join(f' {other}.ko' for other in _behind(name, found))}\n" for name in found
    ]
    files[f"{folder}/modules.dep"] = regular_file("".join(lines).encode())
    return files


def _add(
    finder: ModuleFinder, file: ModuleFile, found: dict[str, ModuleFile], users: tuple[str, ...]
) -> None:
    if file.name in users:
        raise ImageError(file.path, f"depends on itself: {' -> '.join((*users, file.name))}")
    finder.check(file)
    for name in file.depends:
        if name not in found:
            _add(finder, finder.needed(file, name), found, (*users, file.name))
    found[file.name] = file


def _behind(name: str, found: dict[str, ModuleFile]) -> list[str]:
    """What must be loaded for ``name``: as in modules.dep, what is loaded first stands last."""
    needed: set[str] = set()
    waiting = [name]
    while waiting:
        new = set(found[waiting.pop()].depends) - needed
        needed |= new
        waiting += new
    return [other for other in reversed(found) if other in needed]
