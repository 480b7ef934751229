"""Modules of a real kernel for its initial file system, with all that these need."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.initramfs import directory, make_cpio, regular_file
from kprobesim.image import KernelImage
from kprobesim.image.modules.file import ModuleFile
from kprobesim.image.modules.finder import ModuleFinder

FOLDER = "modules"
ALONE = "lz4_compress"
"""Depends on no other."""
WANTED = (ALONE, "virtio_net", "nf_conntrack")


def in_order(find: Callable[[str], ModuleFile | None]) -> list[ModuleFile]:
    """Those of :data:`WANTED` that are found, and what they need, in the order to load them in."""
    order: dict[str, ModuleFile] = {}

    def need(name: str) -> None:
        file = find(name)
        if file is not None and file.name not in order:
            for other in file.depends:
                need(other)
            order[file.name] = file

    for name in WANTED:
        need(name)
    return [*order.values()]


def module_archive(image: KernelImage) -> bytes:
    """A cpio archive with these modules of ``image`` in ``/modules``."""
    files = in_order(ModuleFinder(image).find)
    return make_cpio(
        {FOLDER: directory()}
        | {f"{FOLDER}/{file.name}.ko": regular_file(bytes(file.data)) for file in files}
    )
