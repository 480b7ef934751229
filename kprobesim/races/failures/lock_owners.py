"""Who owns a lock, as the lock itself says: those that tasks sleep for hold a task's address.

include/linux/mutex.h, rwsem.h, rtmutex.h (5.10 to 7.3): the lowest bits are flags.
"""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.memory import HostAccess

__all__ = ["LockOwners"]

_FLAGS = 7
_Place = tuple[str, str]
_OWNERS: Sequence[tuple[str, Sequence[_Place]]] = (
    ("ww_mutex_", (("ww_mutex", "base.owner"), ("ww_mutex", "base.rtmutex.owner"))),
    ("mutex_", (("mutex", "owner"), ("mutex", "rtmutex.owner"))),
    ("down_write", (("rw_semaphore", "owner"), ("rw_semaphore", "rwbase.rtmutex.owner"))),
    ("down_read", (("rw_semaphore", "owner"), ("rw_semaphore", "rwbase.rtmutex.owner"))),
    ("rt_mutex_", (("rt_mutex", "rtmutex.owner"), ("rt_mutex", "owner"))),
    ("rt_spin_", (("spinlock", "lock.owner"),)),
    ("rt_write_", (("rwlock_t", "rwbase.rtmutex.owner"),)),
)
"""By the beginning of the function that takes a lock: struct and member, with PREEMPT_RT or not."""


class LockOwners:
    """The owners of one guest's locks."""

    def __init__(self, image: KernelImage, memory: HostAccess) -> None:
        """Look at none yet.

        Args:
            image: Its kernel.
            memory: Its memory.
        """
        self._image, self._memory = image, memory

    def owner(self, address: int, taken_by: str) -> int | None:
        """The address of the task that has a lock; ``None``: nobody's, or it is not known.

        Args:
            address: Of the lock.
            taken_by: The function that takes it.
        """
        btf = self._image.btf
        found = next((places for begin, places in _OWNERS if taken_by.startswith(begin)), ())
        for struct, member in found if btf is not None else ():
            offset = btf.offset(struct, member) if btf is not None else None
            if offset is not None:
                try:
                    return self._memory.read_u64(address + offset) & ~_FLAGS or None
                except GuestMemoryError:
                    return None
        return None
