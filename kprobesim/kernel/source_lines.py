"""``SourceLineVerbs``: places of probes by lines of the source."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage

if TYPE_CHECKING:
    from kprobesim.functions.dwarf.symcache import SymCache

__all__ = ["SourceLineVerbs"]


class SourceLineVerbs:
    """The verb of :class:`~kprobesim.kernel.base.Kernel` that knows source lines."""

    image: KernelImage

    @cached_property
    def _symcaches(self) -> dict[Path | None, SymCache]:
        return {}

    def at_line(self, where: str, *, debug: str | os.PathLike[str] | None = None) -> list[str]:
        """The places of a source line, each as a probe is registered by: ["do_sys_openat2+0xa0"].

        One for each function that has code of the line, and for each copy of one that was inlined.
        The debug information is read once, in ten seconds, and kept on the disk.

        >>> k.count(k.at_line("fs/open.c:1320"))

        Args:
            where: A file, by as much of its path as tells it from others, and a line.
            debug: The vmlinux with the debug information, or a package that has it (Debian's
                ``linux-image-...-dbg``); by default it is looked for in the image's own file.

        Raises:
            UsageError: The line has no code (those near it that have some are named), there is no
                such file, or symbolic, which reads debug information, is not installed.
            ImageError: There is no debug information, or it is of another build.
        """
        from kprobesim.functions.dwarf.debug_file import debug_path, open_symcache
        from kprobesim.functions.dwarf.line_places import line_places

        path = debug_path(debug)
        if path not in self._symcaches:
            cache = open_symcache(self.image, path)
            if cache is None:
                raise UsageError(
                    f"{self.image.path.name} has no debug information that can be read: give "
                    "debug= (--debug), the vmlinux or the package with it (Debian: the -dbg one)"
                )
            self._symcaches[path] = cache
        return [str(place) for place in line_places(self._symcaches[path], self.image, where)]
