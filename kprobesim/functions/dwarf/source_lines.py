"""``SourceLines``: the source lines of an image's addresses, with what is inlined there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from kprobesim.functions.dwarf.debug_file import open_symcache
from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.dwarf.symcache import SymCache
from kprobesim.image import KernelImage

__all__ = ["SourceLine", "SourceLines", "open_source_lines"]


class SourceLine(NamedTuple):
    """A place in the source: ``function`` is the one that the line stands in."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else self.function


class SourceLines:
    """What ``cache`` says of the addresses of ``image``."""

    def __init__(self, cache: SymCache, image: KernelImage) -> None:
        self._cache = cache
        self._base = Inlines(cache, image).base

    def at(self, address: int) -> tuple[SourceLine, ...]:
        """The line of the code at ``address``, and those of the calls that it is inlined by.

        The innermost function comes first; empty where nothing is known.

        Raises:
            DebugInfoError: The debug information is damaged.
        """
        if address < self._base:
            return ()
        return tuple(SourceLine(*each) for each in self._cache.stack_at(address - self._base))


def open_source_lines(
    image: KernelImage,
    debug: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> SourceLines | None:
    """The lines of ``image``; ``None`` where no debug information is to be had.

    Args:
        image: The kernel.
        debug: The vmlinux with its debug information, or a package that has it; by default the
            image's own file is looked into.
        progress: Hears what takes long: 10 s the first time, milliseconds later.

    Raises:
        ImageError: ``debug`` has none, is of another build, or is damaged.
        UsageError: ``debug`` is given, and no path, or symbolic, which reads it, not installed.
    """
    cache = open_symcache(image, debug, progress)
    return None if cache is None else SourceLines(cache, image)
