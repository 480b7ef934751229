"""Symbols from a file next to the image: an ELF, a System.map or a copy of /proc/kallsyms."""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.errors import ImageError
from kprobesim.image.elf import ELF_MAGIC, Elf
from kprobesim.image.files.source import check_size, open_file
from kprobesim.image.symbols.symtab import has_symtab, read_symtab
from kprobesim.image.symbols.table import LABEL, Columns

if TYPE_CHECKING:
    from kprobesim.image.kernel_image import KernelImage

__all__ = ["read_symbol_file", "read_text"]

_LINE = re.compile(rb"^([0-9a-fA-F]{16}) ([a-zA-Z?]) ([^\s]+)([ \t]*\[[^\]\n]*\])?[ \t\r]*$", re.M)
#: KASLR moves a kernel in steps of at least this (ARM64 with 4 KiB pages; x86 takes 2 MiB).
_KASLR_STEP = 1 << 16
_SIZE_LIMIT = 64 << 20


def read_symbol_file(path: Path, image: KernelImage) -> tuple[Columns, str]:
    """The symbols in ``path``, moved to the image's addresses; ``ImageError`` if they are others'.

    A copy of /proc/kallsyms has the addresses of a kernel that KASLR moved: the distance shows at
    ``_text``. ``linux_banner`` proves that the symbols are this image's.
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
    columns = _moved(columns, image)
    _check_banner(path, columns, image)
    return columns, source


def read_text(path: Path, text: bytes) -> Columns:
    """The symbols in the text of a System.map or /proc/kallsyms, those of modules left out."""
    names: list[bytes] = []
    kinds = bytearray()
    addresses = array("Q")
    lines = _LINE.findall(text)
    for address, kind, name, module in lines:
        if not module and not LABEL.match(name):
            names.append(name)
            kinds += kind
            addresses.append(int(address, 16))
    if len(lines) < text.count(b"\n") // 2 or not lines:
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


def _moved(columns: Columns, image: KernelImage) -> Columns:
    start = image.segments[0].vaddr
    try:
        distance = columns.addresses[columns.names.index(b"_text")] - start
    except ValueError:
        return columns
    if distance == 0 or distance % _KASLR_STEP:
        return columns
    mask = (1 << 64) - 1
    # Per-CPU offsets and absolute numbers stay: they are no addresses.
    moved = array("Q", [a if a < 1 << 32 else (a - distance) & mask for a in columns.addresses])
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
            f"{banner:#x}; name the symbols of exactly this build",
        )
