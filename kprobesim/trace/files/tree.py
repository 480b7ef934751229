"""Which files tracefs has, and where."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.trace.files.functions import FilterFunctions
from kprobesim.trace.files.kprobes import kprobes_folder
from kprobesim.trace.files.node import Folder, Node, ReadOnly, Table
from kprobesim.trace.files.own_text import has_text, readme

__all__ = ["make_tree"]


def make_tree(image: KernelImage, kprobes: KprobesManager) -> Folder:
    """The top of tracefs for one kernel."""
    functions = FilterFunctions(image, lambda: kprobes.init_memory.freed)
    nodes: dict[str, Node] = {"kprobes": kprobes_folder(kprobes)}
    text = readme(image)
    if text is not None:
        nodes["README"] = ReadOnly(lambda: text)
    nodes["available_filter_functions"] = ReadOnly(functions.text)
    if has_text(image, b"available_filter_functions_addrs\0"):
        nodes["available_filter_functions_addrs"] = ReadOnly(functions.text_with_addresses)
    return Table(nodes)
