"""``printk_formats``: texts that records may point to (kernel/trace/trace_printk.c, 6.12)."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.image.tables.places import addresses

__all__ = ["printk_formats"]

_TEXTS = ("__start___tracepoint_str", "__stop___tracepoint_str", "__tracepoint_str")
_LONGEST = 1 << 12
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


def printk_formats(image: KernelImage) -> str:
    """Each text of tracepoints with its address, where the image's symbols say where they are."""
    table = image.table(*_TEXTS)
    lines = []
    for address in () if table is None else addresses(table[1]):
        text = image.read_string(address, _LONGEST)
        if text is not None:
            shown = "".join(_ESCAPES.get(one, one) for one in text)
            lines.append(f'{address:#x} : "{shown}"\n')
    return "".join(lines)
