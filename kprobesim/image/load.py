"""``load_image``: any file that holds a kernel becomes a ``KernelImage``."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kprobesim.arch.architecture import ARM64
from kprobesim.catalog.file import is_catalog, open_catalog
from kprobesim.errors import UsageError
from kprobesim.image.cached_image import load_cached
from kprobesim.image.elf import ELF_MAGIC, Elf
from kprobesim.image.files.arm64_image import load_arm64_image
from kprobesim.image.files.containers import unpack
from kprobesim.image.files.source import Buffer, open_file
from kprobesim.image.files.vmlinux import vmlinux_segments
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.state import read_stored_image
from kprobesim.image.stored import unpack_stored
from kprobesim.image.symbols.kallsyms import find_kallsyms
from kprobesim.image.symbols.symbol_file import read_symbol_file
from kprobesim.image.symbols.symtab import has_symtab, read_symtab
from kprobesim.image.symbols.table import Columns
from kprobesim.image.tables.build_id import read_build_id
from kprobesim.snapshot.container import is_snapshot

__all__ = ["load_image"]


def load_image(
    path: str | os.PathLike[str],
    *,
    symbols: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> KernelImage:
    """Load the kernel image ``path``; what it is, is found from its content.

    What has to be unpacked is so once: see :mod:`kprobesim.image.cache`.

    Args:
        path: A vmlinux, bzImage, ARM64 Image, a package or archive with one, a catalogue, or a
            snapshot, which gives the image of the kernel that runs in it.
        symbols: A file to take the symbols from: another ELF, a System.map or a copy of
            /proc/kallsyms. Without it they come from the image: its ``.symtab``, or else the
            kallsyms that the kernel carries.
        progress: Is told, in words, of each step that takes long.

    Raises:
        ImageError: The file is no kernel image of x86-64 or ARM64, or a damaged one.
        SnapshotError: It is a damaged snapshot.
        CatalogError: It is a damaged catalogue.
    """
    path = Path(path)
    symbol_path = None if symbols is None else Path(symbols)
    if symbol_path is not None:
        open_file(symbol_path)  # a wrong path is an error now, not at the first lookup
    if is_catalog(path):
        if symbols is not None:
            raise UsageError(f"symbols are for images; {path} is a catalogue")
        return unpack_stored(open_catalog(path))
    image = read_stored_image(path) if is_snapshot(path) else _load(path, progress)
    if symbol_path is None:
        return image

    def own(_: KernelImage) -> tuple[Columns, str] | None:
        return (image.symbols.columns, image.symbols.source) if image.has_symbols else None

    return image.with_symbols(lambda other: read_symbol_file(symbol_path, other, own))


def _load(path: Path, progress: Callable[[str], None] | None) -> KernelImage:
    data = open_file(path)
    if bytes(data[: len(ELF_MAGIC)]) == ELF_MAGIC:
        return _unpack(path, data, progress)
    return load_cached(path, data, lambda: _unpack(path, data, progress))


def _unpack(path: Path, data: Buffer, progress: Callable[[str], None] | None) -> KernelImage:
    unpacked = unpack(path, data, progress)
    if unpacked.is_elf:
        return _from_elf(path, unpacked.data, unpacked.container)
    segment = load_arm64_image(path, unpacked.data)
    return KernelImage(
        path, ARM64.name, unpacked.container, segment.vaddr, [segment], read_columns=_embedded
    )


def _from_elf(path: Path, data: Buffer, container: str) -> KernelImage:
    elf = Elf(path, data)
    segments, percpu = vmlinux_segments(elf)

    def read_columns(image: KernelImage) -> tuple[Columns, str] | None:
        return (read_symtab(elf), ".symtab") if has_symtab(elf) else _embedded(image)

    return KernelImage(
        path,
        elf.arch,
        container,
        elf.entry,
        segments,
        section_headers=elf.sections,
        read_columns=read_columns,
        percpu_load=percpu,
        read_build_id=partial(read_build_id, data),
    )


def _embedded(image: KernelImage) -> tuple[Columns, str] | None:
    whole = image.segments[0].vaddr, image.segments[-1].end
    for segment in image.segments:
        columns = find_kallsyms(segment.data, segment.vaddr, whole)
        if columns is not None:
            return columns, "kallsyms"
    return None
