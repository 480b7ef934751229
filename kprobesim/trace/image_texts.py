"""Which strings are in a kernel image: what its kernel can say, and so what it knows."""

from __future__ import annotations

from kprobesim.image import KernelImage

__all__ = ["has_text"]


def has_text(image: KernelImage, text: str) -> bool:
    """Whether ``text`` is a string of its own in the image's data, or the end of one."""
    wanted = text.encode() + b"\0"
    return any(bytes(segment.data).find(wanted) >= 0 for segment in image.segments)
