"""The memory of ``__init`` functions: code while a kernel boots, given back afterwards."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.image import KernelImage
from kprobesim.kprobes.enable import EnabledProbes
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["InitMemory"]


class InitMemory:
    """That of one guest.

    Attributes:
        freed: Whether it was given back: nothing can be probed there then.
    """

    def __init__(
        self, image: KernelImage, enabled: EnabledProbes, prepare: Callable[[Kprobe], None]
    ) -> None:
        """It is the guest's code.

        Args:
            image: The guest's kernel.
            enabled: Its probes.
            prepare: Analyses once more what a probe is on.
        """
        self._image, self._enabled, self._prepare = image, enabled, prepare
        self.freed = False

    def free(self) -> None:
        """The kernel has booted: probes on ``__init`` functions are GONE, new ones refused."""
        self.freed = True
        if self._image.init is not None:
            self._enabled.kill_range(*self._image.init)

    def restore(self, *, freed: bool) -> None:
        """The guest goes back to a state in which it was ``freed``, or not yet."""
        before, self.freed = self.freed, freed
        if before and not freed and self._image.init is not None:
            self._enabled.revive_range(*self._image.init, self._prepare)
