"""Whether a task that sleeps has said when it wants to be woken, and how often it has slept.

Who sleeps for a time has the timer on its own stack: a ``process_timer`` (``schedule_timeout()``,
kernel/time/timer.c) or an ``hrtimer_sleeper`` (``schedule_hrtimeout_range_clock()``,
kernel/time/hrtimer.c), each with the function that wakes it; the same from 5.10 to 7.3.
"""

from __future__ import annotations

import struct
from functools import cached_property

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs

__all__ = ["TaskSleep"]

_SWITCHES = "nvcsw", "nivcsw"  # what khungtaskd counts (kernel/hung_task.c)
_LARGEST_STACK = 64 << 10
_TIMERS = (
    ("process_timeout", "timer_list", "function", (("entry.pprev", 8),)),
    ("hrtimer_wakeup", "hrtimer", "function", (("state", 1), ("is_queued", 1))),
)
"""Which function wakes, where a timer has it, and what of the timer is zero when it has expired."""


class TaskSleep:
    """Asks tasks of one guest."""

    def __init__(self, image: KernelImage, memory: HostAccess) -> None:
        """Ask none yet.

        Args:
            image: The kernel.
            memory: The guest's memory.
        """
        self._image, self._memory = image, memory

    @cached_property
    def _switch_places(self) -> list[int]:
        btf = self._image.btf
        found = [btf.offset("task_struct", name) for name in _SWITCHES] if btf else []
        return [offset for offset in found if offset is not None]

    def switches(self, task: int) -> int:
        """How often a task has gone from a CPU; 0 where the kernel does not say."""
        return sum(self._memory.read_u64(task + offset) for offset in self._switch_places)

    @cached_property
    def _timers(self) -> dict[int, tuple[int, list[tuple[int, int]]]]:
        """By the function that wakes: where a timer has it, and what says that it is pending."""
        btf, timers = self._image.btf, {}
        for name, kind, member, pending in _TIMERS if btf is not None else ():
            found = self._image.symbols.candidates(name)
            offset = btf.offset(kind, member) if btf is not None else None
            if len(found) != 1 or offset is None or btf is None:
                continue
            words = [(btf.offset(kind, each), size) for each, size in pending]
            known = [(at, size) for at, size in words if at is not None]
            timers[found[0].address] = offset, known
        return timers

    def sleeps_for_a_time(self, regs: PtRegs, top: int) -> bool:
        """Whether a timer will wake a task.

        Args:
            regs: The registers with which it sleeps.
            top: Where its stack begins, above them.
        """
        start = regs.sp & ~7
        size = min(top - start, _LARGEST_STACK) & ~7
        if size <= 0:
            return False
        try:
            stack = self._memory.read(start, size)
        except GuestMemoryError:
            return False
        for index, (word,) in enumerate(struct.iter_unpack("<Q", stack)):
            known = self._timers.get(word)
            if known is not None and self._is_pending(start + 8 * index - known[0], known[1]):
                return True
        return False

    def _is_pending(self, timer: int, places: list[tuple[int, int]]) -> bool:
        return any(any(self._memory.read(timer + at, size)) for at, size in places)
