"""Where the code of a source line is: in its function, in each inlined copy, and in the cold part.

As ``perf probe`` does it (tools/perf/util/probe-finder.c, Linux 6.1): one place for each function,
or inlined copy of one, that has code of the line; a line that does nothing but call an inlined
function is where that function's code begins.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from kprobesim.errors import UsageError
from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.dwarf.symcache import SymCache
from kprobesim.image import KernelImage

__all__ = ["LINE", "LinePlace", "line_places"]

#: ``FILE.c:LINE``, as compilers, perf and the kernel's warnings write it.
LINE = re.compile(r"(?P<file>[\w./+-]+\.[chS]):(?P<line>[1-9][0-9]{0,8})")

_NEAR = 3


class LinePlace(NamedTuple):
    """Where a line's code begins in one function; as text what a probe is registered by."""

    symbol: str
    offset: int
    address: int

    def __str__(self) -> str:
        return f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol


def line_places(cache: SymCache, image: KernelImage, where: str) -> list[LinePlace]:
    """The places of ``where``, "fs/open.c:1390", by address.

    Args:
        cache: The debug information.
        image: The kernel, where it is.
        where: A file, by as many of its folders as tell it from others, and a line.

    Raises:
        UsageError: It is written otherwise, there is no such file or more than one, or no code is
            of that line: the nearest lines that have some are named.
        DebugInfoError: The debug information is damaged.
    """
    found = LINE.fullmatch(where)
    if found is None:
        raise UsageError(f"{where!r} is no line of a source file: write it as fs/open.c:1390")
    file, line = _one_file(cache, found["file"]), int(found["line"])
    starts = cache.starts_of(file, line)
    if not starts:
        raise UsageError(_no_code(cache, file, line))
    base, places = Inlines(cache, image).base, []
    for start in starts:
        at = image.symbols.at(base + start)
        if at is not None:
            places.append(LinePlace(at.symbol.name, at.offset, base + start))
    return places


def _one_file(cache: SymCache, wanted: str) -> str:
    """The one source file that ends with ``wanted``."""
    names = cache.files()
    if wanted in names:
        return wanted
    found = sorted(name for name in names if name.endswith(f"/{wanted.lstrip('./')}"))
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:_NEAR])
        more = f" and {len(found) - _NEAR} more" if len(found) > _NEAR else ""
        raise UsageError(f"{wanted} may be {shown}{more}: write more of its path")
    near = difflib.get_close_matches(wanted, names, _NEAR)
    hint = f": there is {', '.join(near)}" if near else ""
    raise UsageError(f"no code of this kernel is of a source file {wanted}{hint}")


def _no_code(cache: SymCache, file: str, line: int) -> str:
    lines = cache.lines_of(file)
    before = [each for each in lines if each < line][-_NEAR:]
    behind = [each for each in lines if each > line][:_NEAR]
    near = ", ".join(map(str, [*before, *behind]))
    return f"no code is of line {line} of {file}: lines near it that have some are {near or 'none'}"
