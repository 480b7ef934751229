"""``FunctionNames``: which modules have a function of some name, told by one text of all names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kprobesim.image.files.source import Buffer
from kprobesim.image.modules.file import function_table

__all__ = ["FunctionNames", "collect_names"]

_MODULE = b"\x01"  # before the name of a module, as no symbol has it


class FunctionNames:
    """The functions of modules, as :meth:`text_of` writes them."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = text

    @staticmethod
    def text_of(module: str, functions: Iterable[bytes]) -> bytes:
        """The text of one module; those of several follow each other."""
        names = b"".join(name + b"\0" for name in dict.fromkeys(functions))
        return _MODULE + module.encode() + b"\0" + names

    def modules_with(self, function: str) -> tuple[str, ...]:
        """The modules that have a function of that name, in the order of the text."""
        needle, found = b"\0" + function.encode("utf-8", "replace") + b"\0", []
        at = self.text.find(needle)
        while at >= 0:
            start = self.text.rfind(_MODULE, 0, at) + 1
            found.append(self.text[start : self.text.find(b"\0", start)].decode("utf-8", "replace"))
            at = self.text.find(needle, at + 1)
        return tuple(dict.fromkeys(found))


def collect_names(
    modules: Sequence[str],
    read: Callable[[str], tuple[Path, Buffer] | None],
    progress: Callable[[str], None] | None = None,
) -> FunctionNames:
    """The functions of all ``modules``, which are unpacked for it: that takes seconds.

    Args:
        modules: Their names.
        read: Gives the path and the bytes of one, packed or not.
        progress: Hears of it.

    Raises:
        ImageError: One is no module.
    """
    if modules and progress is not None:
        progress(f"looking through {len(modules)} modules")

    def text(name: str) -> bytes:
        found = read(name)
        functions = [] if found is None else function_table(*found)
        return FunctionNames.text_of(name, (function for function, _ in functions))

    with ThreadPoolExecutor() as threads:  # unpacking lets others run
        return FunctionNames(b"".join(threads.map(text, modules)))
