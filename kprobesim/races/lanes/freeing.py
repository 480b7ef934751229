"""What frees memory in a race of a called kernel: there is no slab in it that could take any back.

Memory that the host has given (``k.alloc``) is poisoned when it is freed, as with slab_debug, and
all of it counts as stored to: whoever may use it then, with nothing that orders both, uses what is
free, be it before or after. Of other memory the kernel's own function has its say.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSTRUCTIONS
from kprobesim.machine.unicorn.access_log import AccessLog
from kprobesim.races.lanes.stand_in import argument, return_at_once

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

__all__ = ["FREES", "Freeing"]

FREES = ("kfree", "kvfree", "kfree_sensitive", "kzfree", "kvfree_sensitive", "kmem_cache_free")
"""Functions of the kernel that free an object: their last argument but a size."""
_POISON = b"\x6b"  # POISON_FREE, include/linux/poison.h
_WORD = 8


class Freeing:
    """Stands in for the slab of one machine, as a context manager."""

    def __init__(self, machine: Machine, image: KernelImage, log: AccessLog) -> None:
        """Free nothing yet.

        Args:
            machine: The machine.
            image: Its kernel.
            log: The accesses of a run.
        """
        self._machine, self._image, self._log = machine, image, log
        self._ending = ExitStack()

    def __enter__(self) -> Freeing:
        watch = self._machine.code_watch
        for name in FREES:
            found = self._image.symbols.candidates(name)
            if len(found) == 1:
                number = int(name == "kmem_cache_free")
                arrived = self._second if number else self._first
                client = watch.watch(found[0].address, arrived, INSTRUCTIONS)
                self._ending.callback(watch.unwatch, client)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _first(self, _address: int) -> bool:
        return self._free(0)

    def _second(self, _address: int) -> bool:
        return self._free(1)

    def _free(self, number: int) -> bool:
        machine = self._machine
        block = argument(machine, number)
        if block not in machine.heap:
            return False
        size = machine.heap.size_of(block)
        machine.memory.write(block, _POISON * size)
        for physical, length in machine.memory.physical(block, size):
            for at in range(physical, physical + length, _WORD):
                self._log.note_store(at, _POISON * min(_WORD, physical + length - at))
        return return_at_once(machine)
