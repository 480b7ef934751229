"""Which strings are in a kernel image: what its kernel can say, and so what it knows."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.image.segment import findable

__all__ = ["has_text", "kernel_text"]

_MOST = 1 << 16


def has_text(image: KernelImage, text: str) -> bool:
    """Whether ``text`` is a string of its own in the image's data, or the end of one."""
    wanted = text.encode() + b"\0"
    return bool(
        image.findings.once(
            f"text {text}",
            lambda: any(findable(segment.data).find(wanted) >= 0 for segment in image.segments),
            code=__file__,
        )
    )


def kernel_text(image: KernelImage, start: bytes) -> str | None:
    """The string in the image's data that begins with ``start``; ``None`` if there is none."""
    for segment in image.segments:
        at = findable(segment.data).find(start)
        if at >= 0:
            return image.read_string(segment.vaddr + at, _MOST)
    return None
