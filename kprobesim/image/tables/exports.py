"""``__ksymtab``: the symbols that a kernel, or a module, offers to modules."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.tables.discover import find_export_entry
from kprobesim.sizes import MASK64

__all__ = ["exported", "kernel_exports", "table_exports"]

#: struct kernel_symbol with relative references (5.4): distances to the symbol, to its name, and to
#: the name of its namespace.
_ENTRY = struct.Struct("<iii")
_TABLES = (
    ("__start___ksymtab", "__stop___ksymtab", "__ksymtab"),
    ("__start___ksymtab_gpl", "__stop___ksymtab_gpl", "__ksymtab_gpl"),
)
#: Exported by every kernel with modules, under one name or the other: where to look for the table.
_KNOWN = ("_printk", "printk")
_MOST = 1 << 16
_PERCPU = 1 << 31  # addresses of per-CPU variables on x86, up to 6.14
_NAME_LENGTH = 512

ReadString = Callable[[int], "str | None"]


def table_exports(start: int, table: bytes, read_string: ReadString) -> dict[str, int]:
    """The names and addresses in a ``table`` that lies at ``start``."""
    found = {}
    whole = len(table) - len(table) % _ENTRY.size
    for at, (symbol, name, _) in zip(
        range(start, start + whole, _ENTRY.size), _ENTRY.iter_unpack(table[:whole]), strict=True
    ):
        text = read_string(at + 4 + name)
        if text:
            found[text] = at + symbol & MASK64
    return found


def kernel_exports(image: KernelImage) -> Mapping[str, int]:
    """What the kernel in ``image`` offers to modules.

    One that was built without modules exports nothing: then it is all its global symbols.
    """
    return exported(image) or {s.name: s.address for s in image.symbols if s.type.isupper()}


def exported(image: KernelImage) -> Mapping[str, int]:
    """What the kernel in ``image`` exports; nothing if it was built without modules."""
    tables = [image.table(*table) for table in _TABLES]
    if any(tables):
        found: dict[str, int] = {}
        for start, data in filter(None, tables):
            found |= table_exports(start, data, image.read_string)
        return found
    return dict(_find(image))


def _find(image: KernelImage) -> Iterator[tuple[str, int]]:
    """By their shape: entries in a row around that of a symbol that is always there.

    __ksymtab and __ksymtab_gpl lie side by side (vmlinux.lds.h).
    """
    for known in _KNOWN:
        found = image.symbols.candidates(known)
        place = found and find_export_entry(image.segments, known)
        if not place:
            continue
        for step in (-_ENTRY.size, _ENTRY.size):
            at = place if step > 0 else place + step
            for _ in range(_MOST):
                entry = _entry(image, at)
                if entry is None:
                    break
                yield entry
                at += step
        return


def _entry(image: KernelImage, at: int) -> tuple[str, int] | None:
    if not image.contains(at) or not image.contains(at + _ENTRY.size - 1):
        return None
    symbol, name, namespace = _ENTRY.unpack(image.read(at, _ENTRY.size))
    text = image.read_string(at + 4 + name, _NAME_LENGTH)
    space = image.read_string(at + 8 + namespace, _NAME_LENGTH) if namespace else ""
    if not text or space is None or not _is_name(text) or (space and not _is_name(space)):
        return None
    address = at + symbol & MASK64
    return (text, address) if image.contains(address) or address < _PERCPU else None


def _is_name(text: str) -> bool:
    return text.isascii() and text.replace(".", "_").isidentifier()
