"""What stands in the kernel's own constants: its README, and the names of the files it has."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.image.segment import findable

__all__ = ["has_text", "readme"]

_README = b"tracing mini-HOWTO:\n"
_MOST = 1 << 16


def has_text(image: KernelImage, text: bytes) -> bool:
    """Whether ``text`` stands somewhere in ``image``, as in the code of what has it."""
    return bool(
        image.findings.once(
            f"text {text!r}",
            lambda: any(findable(segment.data).find(text) >= 0 for segment in image.segments),
            code=__file__,
        )
    )


def readme(image: KernelImage) -> str | None:
    """The text of ``README``, which is one string; ``None`` for a kernel that has none."""
    for segment in image.segments:
        at = findable(segment.data).find(_README)
        if at >= 0:
            return image.read_string(segment.vaddr + at, _MOST)
    return None
