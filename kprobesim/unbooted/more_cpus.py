"""More CPUs for a kernel whose functions are called: each with what the first one has.

That is a per-CPU area, a copy of the template; a task, a copy of ``init_task``; and a stack. They
share the page tables, the code and everything else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cache, cached_property

from kprobesim.arch.architecture import halves
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.arm64 import Arm64Cpu
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot
from kprobesim.machine.stacks import Stack
from kprobesim.machine.unicorn.spins import watch_spins
from kprobesim.sizes import MASK64, PAGE, page_up
from kprobesim.types.composites import Struct
from kprobesim.unbooted.environment import fill_x86_percpu, percpu_offset

__all__ = ["MOST_CPUS", "MoreCpus"]

MOST_CPUS = 8
_AREAS = 1 << 30  # from the beginning of vmalloc's area on: no stack is there
_AREA = 16 << 20
_FIRST_STACK = 32  # calls are not nested so deep
_FIRST_SOFT_STACK = _FIRST_STACK + MOST_CPUS
_TASK_SIZE = 3 * PAGE  # without BTF
_MASKS = "__cpu_online_mask", "__cpu_possible_mask", "__cpu_present_mask", "__cpu_active_mask"
_COUNTS = "nr_cpu_ids", "__num_online_cpus"
_CPU_MEMBERS = "thread_info.cpu", "cpu"  # of task_struct; the second until 5.16
_NESTING = "rcu_read_lock_nesting"
_STATE_MEMBERS = "__state", "state"  # the second until 5.13


class MoreCpus:
    """The CPUs of one ``machine``.

    Attributes:
        stacks: What each CPU's calls run on, by its number.
        spins: Notices who waits for another CPU.
        soft_stacks: What is called back on each CPU runs on it, as on an interrupt's.
        tasks: The address of each CPU's current task, where there is one.
        exported: The address of a variable of the image by its name, or ``None``.
    """

    def __init__(self, machine: Machine, image: KernelImage) -> None:
        """Have only the first one yet."""
        self._machine, self._image = machine, image
        self.stacks: list[Stack] = []
        self.soft_stacks: list[Stack] = []
        self._offsets: dict[int, int] = {0: percpu_offset(image)}
        self.spins = watch_spins(machine.engine)
        self.exported = cache(image.exported)
        first = self.exported("init_task")
        self.tasks = [] if first is None else [first]

    def prepare(self, count: int) -> None:
        """Let there be ``count`` CPUs, as they are when nothing has run on the others.

        Raises:
            UsageError: So many cannot be.
        """
        if not 1 <= count <= MOST_CPUS:
            raise UsageError(f"{count} CPUs: a kernel that is called has 1 to {MOST_CPUS}")
        machine = self._machine
        while len(machine.vcpus) < count:
            machine.add_vcpu(alike=True)
        calls_back = self.exported("call_rcu") is not None
        while len(self.stacks) < count:
            number = len(self.stacks)
            self.stacks.append(self._stack(number, _FIRST_STACK + number))
            if calls_back:
                self.soft_stacks.append(self._stack(number, _FIRST_SOFT_STACK + number))
        running = machine.vcpu.number
        for number in range(1, count):
            machine.switch_to(number)
            _FILL[machine.arch](self, number)
        machine.switch_to(running)
        self._count(count)

    def _stack(self, number: int, depth: int) -> Stack:
        machine = self._machine
        pad, cleaners = machine.return_address, machine.stacks.cleaners
        return Stack(machine.vcpus[number], machine.memory, depth, pad, cleaners)

    def _count(self, count: int) -> None:
        memory = self._machine.memory
        for name in _MASKS:
            place = self.exported(name)
            if place is not None:
                memory.write_u64(place, (1 << count) - 1)
        for name in _COUNTS:
            place = self.exported(name)
            if place is not None:
                memory.write(place, struct.pack("<I", count))

    def _percpu_area(self, number: int, start: int, template: int, size: int) -> int:
        """Fill CPU ``number``'s area of ``size`` bytes; what is added to a variable's address."""
        memory = self._machine.memory
        area = self._new(number, 0, size)
        memory.write(area, self._image.read(template, size))
        offset = self._offsets[number] = area - start & MASK64
        return offset

    def _task(self, number: int) -> int | None:
        """A copy of ``init_task`` whose pointers into itself lead into the copy."""
        memory, task = self._machine.memory, self.exported("init_task")
        if task is None:
            return None
        size, places = self._task_layout
        new = self._new(number, _AREA // 2, size)
        words = struct.unpack(f"<{size // 8}Q", memory.read(task, size & -8))
        moved = [word - task + new if task <= word < task + size else word for word in words]
        memory.write(new, struct.pack(f"<{len(moved)}Q", *moved))
        for place in places:
            memory.write(new + place, struct.pack("<I", number))
        if len(self.tasks) == number:
            self.tasks.append(new)
        return new

    @cached_property
    def _task_layout(self) -> tuple[int, list[int]]:
        """The size of a ``task_struct``, and where it holds its CPU's number."""
        btf = self._image.btf
        structs = btf.named("task_struct", Struct) if btf is not None else []
        named = self._image.symbols.candidates("init_task")
        known = [kind.size for kind in structs] + [symbol.size for symbol in named]
        places = [btf.offset("task_struct", name) if btf else None for name in _CPU_MEMBERS]
        size = next(filter(None, known), _TASK_SIZE)
        return size, [place for place in places if place is not None]

    @cached_property
    def task_state(self) -> int | None:
        """Where in a ``task_struct`` the state is, in four bytes."""
        btf = self._image.btf
        found = [btf.offset("task_struct", name) if btf else None for name in _STATE_MEMBERS]
        return next((place for place in found if place is not None), None)

    def reader_words(self) -> list[list[int]] | None:
        """The words that tell of each CPU whether it is in an RCU read-side section.

        They are not what they are outside of one: ``rcu_read_lock_nesting`` of its task
        (CONFIG_PREEMPT_RCU) and the preempt count (CONFIG_PREEMPT_COUNT, which there is wherever
        there is ``preempt_schedule()``); ``None``: nothing is counted.
        """
        btf, exported = self._image.btf, self.exported
        nesting = btf.offset("task_struct", _NESTING) if btf and self.tasks else None
        if exported("__rcu_read_lock") is not None and nesting is None:
            return None
        found = [[] if nesting is None else [task + nesting] for task in self.tasks]
        if btf is not None and exported("preempt_schedule") is not None:
            variable, hot = exported("__preempt_count"), exported("pcpu_hot")
            at = btf.offset("pcpu_hot", "preempt_count")
            if variable is None and hot is not None and at is not None:
                variable = hot + at
            in_task = btf.offset("task_struct", "thread_info.preempt.count")
            for number, words in enumerate(found):
                if variable is not None:
                    words.append(self._offsets[number] + variable & MASK64)
                elif in_task is not None:
                    words.append(self.tasks[number] + in_task)
        return found if found and all(found) else None

    @cached_property
    def cpu_numbers(self) -> list[tuple[str, int]]:
        """The per-CPU variables of x86-64 that hold the CPU's number, and where in them."""
        btf = self._image.btf
        hot = btf.offset("pcpu_hot", "cpu_number") if btf is not None else None
        return [("cpu_number", 0), *([] if hot is None else [("pcpu_hot", hot)])]

    @cached_property
    def percpu_bounds(self) -> tuple[int, int] | None:
        """Where the template of the per-CPU areas begins, and its size."""
        start, end = (self.exported(name) for name in ("__per_cpu_start", "__per_cpu_end"))
        return None if start is None or end is None or end <= start else (start, end - start)

    def _new(self, number: int, at: int, size: int) -> int:
        memory = self._machine.memory
        start = self._machine.isa.vmalloc_start + _AREAS + number * _AREA + at
        if memory.region(start) is None:
            memory.map_new(start, page_up(size), Prot.RW, f"cpu {number}")
        return start


def _fill_x86(cpus: MoreCpus, number: int) -> None:
    machine, image = cpus._machine, cpus._image
    memory = machine.memory
    bounds = cpus.percpu_bounds
    if image.percpu_load is None or bounds is None:
        return  # there is one area for all
    start, size = bounds
    offset = cpus._percpu_area(number, start, image.percpu_load, size)
    fill_x86_percpu(machine, image, number, offset)
    task = cpus._task(number)
    for name, at in cpus.cpu_numbers:
        variable = cpus.exported(name)
        if variable is not None:
            memory.write(offset + variable + at & MASK64, struct.pack("<I", number))
    for name in ("current_task", "pcpu_hot"):
        variable = cpus.exported(name)
        if variable is not None and task is not None:
            memory.write_u64(offset + variable & MASK64, task)


def _fill_arm64(cpus: MoreCpus, number: int) -> None:
    machine = cpus._machine
    assert isinstance(machine.cpu, Arm64Cpu)
    bounds = cpus.percpu_bounds
    if bounds is not None:
        start, size = bounds
        offset = cpus._percpu_area(number, start, start, size)
        machine.cpu.set_percpu_base(offset)
        table = cpus.exported("__per_cpu_offset")
        if table is not None:
            machine.memory.write_u64(table + 8 * number, offset)
        variable = cpus.exported("cpu_number")
        if variable is not None:
            machine.memory.write(offset + variable & MASK64, struct.pack("<I", number))
    task = cpus._task(number)
    if task is not None:
        machine.cpu.set_current(task)


_FILL: Mapping[str, Callable[[MoreCpus, int], None]] = halves(x86_64=_fill_x86, arm64=_fill_arm64)
