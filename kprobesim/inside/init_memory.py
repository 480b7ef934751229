"""When a booted guest gives back the memory of its ``__init`` functions."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.system import System

__all__ = ["watch_init_memory"]

# kernel_init() calls the first since 5.11 and 5.10.16, just before the second (init/main.c).
_FUNCTIONS = ("kprobe_free_init_mem", "free_initmem")


def watch_init_memory(machine: System, image: KernelImage, freed: Callable[[], None]) -> None:
    """Call ``freed()`` when that is about to happen; never, if the kernel has no such symbol."""
    found = next((s for name in _FUNCTIONS for s in image.symbols.candidates(name)), None)
    if found is not None:
        machine.code_watch.watch(found.address, lambda _address: freed(), INSIDE)
