"""Whose hit it is, where and when, for programs that are interpreted: as compiled ones see it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping

from kprobesim.errors import GuestMemoryError
from kprobesim.inside.tasks import TASK_COMM_LEN
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.programs.context import IRQS_OFF
from kprobesim.programs.guest import Guest
from kprobesim.programs.stores.stacks import DEPTH
from kprobesim.sizes import MASK64

__all__ = ["TaskFacts"]

_HIGH_HALF = 1 << 63


class TaskFacts:
    """The facts of a hit on ``machine``, which is ``guest``; ``None``: a fault.

    ``by_name`` has what tells each of them.
    """

    def __init__(self, machine: System, guest: Guest) -> None:
        self._machine = machine
        self._guest = guest
        self._tasks = guest.tasks
        self._control = control_words(machine.engine)
        self.by_name: Mapping[str, Callable[[], int | bytes | None]] = {
            "caller": self.caller,
            "comm": self.comm,
            "context": self.context,
            "cpu": self.cpu,
            "current": self.current,
            "ids": self.ids,
            "now": self.now,
            "per_cpu": self.per_cpu,
            "pid": self.pid,
            "tgid": self.tgid,
        }
        self.at_place: Mapping[str, Callable[[int], int | None]] = {
            "stack_id": lambda here: self.stack_id(here),
            "unwound": self.unwound,
        }

    def current(self) -> int | None:
        """The address of the ``task_struct``; ``None`` as long as there is none."""
        place = self._tasks.place
        if place.register:
            task = self._control[place.register].value
            if task & _HIGH_HALF:
                return int(task)
        if place.variable is None:
            return None
        address = place.variable
        for name in place.bases:
            address = self._control[name].value + place.variable & MASK64
            if address & _HIGH_HALF:
                break
        pointer = self._read(address, 8)
        return pointer if pointer is not None and pointer & _HIGH_HALF else None

    def per_cpu(self) -> int:
        """What is added to the address of a per-CPU variable."""
        bases = [self._control[name].value for name in self._tasks.place.bases]
        return next((base for base in bases if base & _HIGH_HALF), bases[-1] if bases else 0)

    def pid(self) -> int | None:
        """The thread's."""
        return self._member("pid")

    def tgid(self) -> int | None:
        """The process's."""
        return self._member("tgid")

    def _member(self, name: str) -> int | None:
        task = self.current()
        if task is None:
            return None
        value = self._read(task + self._tasks.offsets[name] & MASK64, 4)
        return None if value is None else value - (value >> 31 << 32)

    def ids(self) -> int:
        """Both, for :func:`~kprobesim.programs.context.ids_of`."""
        if not self._tasks.are_known:
            return 0
        pid, tgid = self.pid() or 0, self.tgid() or 0
        return pid & 0xFFFF_FFFF | (tgid & 0xFFFF_FFFF) << 32

    def context(self) -> int:
        """What the CPU does, for :func:`~kprobesim.programs.context.context_of`."""
        places, task = self._guest.places, self.current()
        bit, when_off = IRQS_OFF[self._machine.arch]
        off = ctypes.c_uint64.from_address(self._guest.flags).value & bit == when_off

        def member(offset: int | None, size: int) -> int:
            if offset is None or task is None:
                return 0
            return self._read(task + offset & MASK64, size) or 0

        count = member(places.preempt_member, 4)
        if places.preempt_variable is not None:
            count = 0
            for name in reversed(self._tasks.place.bases):
                address = self._control[name].value + places.preempt_variable & MASK64
                if address & _HIGH_HALF:
                    count = self._read(address, places.preempt_bytes) or 0
            if places.preempt_bytes == 8:
                count = count & 0x7FFF_FFFF | count >> 63 << 31
        flags, migration = member(places.flags_member, 2), member(places.migration_member, 1)
        softirqs = member(places.softirq_member, 2) >> 8 & 0x7F
        return count | flags << 32 | migration << 48 | softirqs << 56 | off << 63

    def comm(self) -> bytes | None:
        """The task's name."""
        task = self.current()
        if task is None:
            return None
        try:
            place = task + self._tasks.offsets["comm"] & MASK64
            return self._machine.memory.read_cstr(place, TASK_COMM_LEN)
        except GuestMemoryError:
            return None

    def cpu(self) -> int:
        """The number of the CPU."""
        return self._machine.vcpu.number

    def now(self) -> int:
        """The guest's time in nanoseconds."""
        return self._machine.stopwatch.now()

    def caller(self) -> int | None:
        """The return address, at a function's first instruction; also where it was replaced."""
        abi, words, recover = (
            self._machine.isa.abi,
            self._machine.words,
            self._machine.recover_return,
        )
        if abi.link_register is not None:
            frame = words[abi.number(abi.frame_pointer)]
            return recover(words[abi.number(abi.link_register)], frame)
        frame = words[abi.number(abi.stack_pointer)]
        address = self._read(frame, 8)
        return None if address is None else recover(address, frame)

    def stack_id(self, here: int, caller: int | None = None) -> int | None:
        """The number of the stack of callers.

        Args:
            here: Where the CPU is: at a probe.
            caller: The innermost caller; ``None``: that of a function that begins here.
        """
        if not self._guest.has_frames:
            return self.unwound(here, caller)
        first = self.caller() if caller is None else caller
        if first is None:
            return None
        return self._guest.stacks.number([first, *self._outer_callers()])

    def unwound(self, here: int, returned: int | None = None) -> int | None:
        """As the unwinder tells it, from any instruction.

        Args:
            here: Where the CPU is: at a probe.
            returned: It is where a call has just returned to, instead.
        """
        if returned is None:
            found = [*self._guest.unwound.callers(here)]
        else:
            found = [returned, *self._guest.unwound.callers(returned)][:DEPTH]
        return self._guest.stacks.number(found) if found else None

    def _outer_callers(self) -> Iterator[int]:
        """Who has called the caller, by the frames."""
        abi, left = self._machine.isa.abi, DEPTH - 1
        frame = self._machine.words[abi.number(abi.frame_pointer)]
        while frame and frame % 8 == 0 and left:
            outer, link = self._read(frame, 8), self._read(frame + 8 & MASK64, 8)
            if outer is None or link is None or not link & _HIGH_HALF:
                return
            yield link
            frame, left = 0 if abi.pushes_return and outer <= frame else outer, left - 1

    def _read(self, address: int, size: int) -> int | None:
        try:
            return int.from_bytes(self._machine.memory.read(address, size), "little")
        except GuestMemoryError:
            return None
