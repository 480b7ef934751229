"""Bytes on disk become a ``KernelImage``: containers, segments, symbols and the kernel's tables."""

from __future__ import annotations

from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.load import load_image
from kprobesim.image.segment import ImageRegion, Segment
from kprobesim.image.symbols.table import Symbol, SymbolAt, SymbolTable
from kprobesim.image.tables.bugtable import BugEntry, BugTable
from kprobesim.image.tables.extable import ExceptionEntry, ExceptionTable

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
