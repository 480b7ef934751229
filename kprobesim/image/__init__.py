"""Bytes on disk become a ``KernelImage``: containers, segments, symbols and the kernel's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.segment import ImageRegion, Segment
from kprobesim.image.symbols.table import Symbol, SymbolAt, SymbolTable
from kprobesim.image.tables.bugtable import BugEntry, BugTable
from kprobesim.image.tables.extable import ExceptionEntry, ExceptionTable

if TYPE_CHECKING:
    from kprobesim.image.load import load_image

__all__ = [
    "BugEntry",
    "BugTable",
    "ExceptionEntry",
    "ExceptionTable",
    "ImageRegion",
    "KernelImage",
    "Segment",
    "Symbol",
    "SymbolAt",
    "SymbolTable",
    "load_image",
]


def __getattr__(name: str) -> Any:
    """What reads files is imported when it is first asked for: a snapshot needs none of it."""
    if name == "load_image":
        from kprobesim.image.load import load_image

        return load_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
