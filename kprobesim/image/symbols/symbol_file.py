"""Symbols from a file next to the image: an ELF, a System.map or a copy of /proc/kallsyms."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.errors import ImageError
from kprobesim.image.elf import ELF_MAGIC, Elf
from kprobesim.image.files.source import check_size, open_file
from kprobesim.image.symbols.symtab import has_symtab, read_symtab
from kprobesim.image.symbols.table import LABEL, Columns
from kprobesim.image.tables.discover import find_export
from kprobesim.sizes import MASK64

if TYPE_CHECKING:
    from kprobesim.image.kernel_image import KernelImage

__all__ = ["read_symbol_file", "read_text"]

_ADDRESS = re.compile(rb"[0-9a-fA-F]{16}")
#: KASLR moves a kernel in steps of at least this (ARM64 with 4 KiB pages; x86 takes 2 MiB).
_KASLR_STEP = 1 << 16
#: Below are per-CPU offsets and absolute numbers.
_LOWEST = 1 << 32
#: Twice what the largest kernels have, with all modules loaded.
_SIZE_LIMIT = 48 << 20
_MOST_LINES = 1 << 20
_EXPORTED = ("_printk", "kfree", "memcpy", "strlen", "init_task", "register_kprobe")
_EXACTLY = "name the symbols of exactly this build"

ReadOwn = Callable[["KernelImage"], "tuple[Columns, str] | None"]


def read_symbol_file(
    path: Path, image: KernelImage, own: ReadOwn = lambda image: None
) -> tuple[Columns, str]:
    """The symbols in ``path``, moved to the image's addresses, and where they are from.

    A copy of /proc/kallsyms has the addresses of a kernel that KASLR moved.

    Args:
        path: The file.
        image: The kernel that they are of.
        own: Reads the symbols that the image has itself.

    Raises:
        ImageError: The symbols are those of another kernel, or there are none.
    """
    data = open_file(path, "a vmlinux, a System.map or a copy of /proc/kallsyms")
    if data[:4] == ELF_MAGIC:
        elf = Elf(path, data)
        if elf.arch != image.arch:
            raise ImageError(path, f"is for {elf.arch}, but {image.path.name} is for {image.arch}")
        if not has_symtab(elf):
            raise ImageError(path, "is an ELF file without symbols (stripped); name another one")
        columns, source = read_symtab(elf), f"symbol table of {path.name}"
    else:
        check_size(path, data, _SIZE_LIMIT, "a System.map or a copy of /proc/kallsyms")
        columns, source = read_text(path, bytes(data)), path.name
    columns = _moved(columns, _slide(path, columns, image, own))
    _check_banner(path, columns, image)
    return columns, source


def read_text(path: Path, text: bytes) -> Columns:
    """The symbols in the text of a System.map or /proc/kallsyms, those of modules left out."""
    names: list[bytes] = []
    kinds = bytearray()
    addresses = array("Q")
    if text.count(b"\n") > _MOST_LINES:
        raise ImageError(path, f"has more than {_MOST_LINES} lines, no list of symbols has")
    lines = 0
    for line in text.splitlines():
        fields = line.split(None, 3)
        if len(fields) < 3 or len(fields[1]) != 1 or not _ADDRESS.fullmatch(fields[0]):
            continue
        address, kind, name, *module = fields
        if not (kind.isalpha() or kind == b"?") or (module and module[0][:1] != b"["):
            continue
        lines += 1
        if not module and not LABEL.match(name):
            names.append(name)
            kinds += kind
            addresses.append(int(address, 16))
    if lines < text.count(b"\n") // 2 or not lines:
        raise ImageError(
            path,
            "is no symbol file: its lines are not 'address type name'; name a vmlinux, a "
            "System.map or a copy of /proc/kallsyms"
            + (
                " (Debian's /boot/System.map is a stub; the -dbg package has the real one)"
                if text.startswith(b"ffffffffffffffff B The real")
                else ""
            ),
        )
    if not any(addresses):
        raise ImageError(
            path, "has only zeros for addresses; read /proc/kallsyms as root (kptr_restrict)"
        )
    return Columns(names, addresses, None, bytes(kinds))


def _slide(path: Path, columns: Columns, image: KernelImage, own: ReadOwn) -> int:
    """How far KASLR has moved the kernel that ``columns`` are of; ``ImageError`` if not evenly.

    That shows at ``_text``, with which an image starts; or, unless ``linux_banner`` will prove
    that right, at every name that the image has, too.
    """
    theirs = _unique(columns)
    ours = {b"_text": image.segments[0].vaddr}
    if b"_text" not in theirs or b"linux_banner" not in theirs:
        table = own(image)
        ours |= _unique(table[0]) if table else _exports(image)
    common = Counter(
        (theirs[name] - address) & MASK64 for name, address in ours.items() if name in theirs
    )
    if not common:
        if not any(image.contains(address) for address in theirs.values()):
            raise ImageError(
                path,
                f"has no symbol that lies in {image.path.name}, and none that would tell how far "
                "KASLR has moved it; let it have _text, or name the symbols of this very build",
            )
        return 0
    distance, votes = common.most_common(1)[0]
    if distance % _KASLR_STEP or votes * 4 < common.total() * 3:
        raise ImageError(
            path,
            f"has the symbols of another kernel than {image.path.name}: of {common.total()} that "
            f"both have, {votes} are as far apart; {_EXACTLY}",
        )
    return distance


def _unique(columns: Columns) -> dict[bytes, int]:
    """The addresses of names that are there once; per-CPU offsets and numbers are no addresses."""
    count = Counter(columns.names)
    pairs = zip(columns.names, columns.addresses, strict=True)
    return {name: address for name, address in pairs if address >= _LOWEST and count[name] == 1}


def _exports(image: KernelImage) -> dict[bytes, int]:
    """What an image without any symbols has all the same: some of those that modules need."""
    found = {name: find_export(image.segments, name) for name in _EXPORTED}
    return {name.encode(): address for name, address in found.items() if address is not None}


def _moved(columns: Columns, slide: int) -> Columns:
    if not slide:
        return columns
    moved = array("Q", [a if a < _LOWEST else (a - slide) & MASK64 for a in columns.addresses])
    return columns._replace(addresses=moved)


def _check_banner(path: Path, columns: Columns, image: KernelImage) -> None:
    try:
        banner = columns.addresses[columns.names.index(b"linux_banner")]
    except ValueError:
        return
    if not (image.read_string(banner) or "").startswith("Linux version "):
        raise ImageError(
            path,
            f"has the symbols of another kernel than {image.path.name}: linux_banner is not at "
            f"{banner:#x}; {_EXACTLY}",
        )
