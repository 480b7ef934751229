"""Pages of executable memory in a booted guest, from where its own kprobes have theirs.

alloc_insn_page() of arch/x86/kernel/kprobes/core.c and arch/arm64/kernel/probes/kprobes.c, since
6.10 of kernel/kprobes.c.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage

__all__ = ["InsnPages"]

_ALLOCATE, _FREE = "alloc_insn_page", "free_insn_page"


class InsnPages:
    """Asks the guest, which runs on until one of its kworkers has done it."""

    def __init__(self, image: KernelImage, call: Callable[..., int]) -> None:
        """Ask by ``call(function, *arguments)``."""
        self._image = image
        self._call = call

    def new_slots(self) -> int:
        """The address of one more page.

        Raises:
            UsageError: The kernel cannot give one.
        """
        if not self._image.symbols.candidates(_ALLOCATE):
            raise UsageError(
                f"this kernel has no {_ALLOCATE}(), which is where the slots of breakpoints come "
                "from: leave arming out, and the probe is a hook"
            )
        page = self._call(_ALLOCATE)
        if not page:
            raise UsageError(f"the guest's {_ALLOCATE}() has no page left for slots")
        return page

    def free(self, page: int) -> None:
        """Give ``page`` back."""
        if self._image.symbols.candidates(_FREE):
            self._call(_FREE, page)
