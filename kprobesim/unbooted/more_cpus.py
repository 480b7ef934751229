"""More CPUs for a kernel whose functions are called: each with what the first one has.

That is a per-CPU area, a copy of the template; a task, a copy of ``init_task``; and a stack. They
share the page tables, the code and everything else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

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
from kprobesim.unbooted.environment import fill_x86_percpu

__all__ = ["MOST_CPUS", "MoreCpus"]

MOST_CPUS = 8
_AREAS = 1 << 30  # from the beginning of vmalloc's area on: no stack is there
_AREA = 16 << 20
_FIRST_STACK = 32  # calls are not nested so deep
_TASK_SIZE = 3 * PAGE  # without BTF
_MASKS = "__cpu_online_mask", "__cpu_possible_mask", "__cpu_present_mask", "__cpu_active_mask"
_COUNTS = "nr_cpu_ids", "__num_online_cpus"
_CPU_MEMBERS = "thread_info.cpu", "cpu"  # of task_struct; the second until 5.16


class MoreCpus:
    """The CPUs of one ``machine``.

    Attributes:
        stacks: What each CPU's calls run on, by its number.
        spins: Notices who waits for another CPU.
    """

    def __init__(self, machine: Machine, image: KernelImage) -> None:
        """Have only the first one yet."""
        self._machine, self._image = machine, image
        self.stacks: list[Stack] = []
        self.spins = watch_spins(machine.engine)
        self._areas: dict[int, tuple[int, int]] = {}

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
        while len(self.stacks) < count:
            number = len(self.stacks)
            depth = _FIRST_STACK + number
            pad, cleaners = machine.return_address, machine.stacks.cleaners
            self.stacks.append(Stack(machine.vcpus[number], machine.memory, depth, pad, cleaners))
        running = machine.vcpu.number
        for number in range(1, count):
            machine.switch_to(number)
            _FILL[machine.arch](self, number)
        machine.switch_to(running)
        self._count(count)

    def _count(self, count: int) -> None:
        memory, image = self._machine.memory, self._image
        for name in _MASKS:
            place = image.exported(name)
            if place is not None:
                memory.write_u64(place, (1 << count) - 1)
        for name in _COUNTS:
            place = image.exported(name)
            if place is not None:
                memory.write(place, struct.pack("<I", count))

    def _percpu_area(self, number: int, start: int, template: int, size: int) -> int:
        """Fill CPU ``number``'s area of ``size`` bytes; what is added to a variable's address."""
        memory = self._machine.memory
        area = self._new(number, 0, size)
        memory.write(area, self._image.read(template, size))
        return area - start & MASK64

    def _task(self, number: int) -> int | None:
        """A copy of ``init_task`` whose pointers into itself lead into the copy."""
        image, memory = self._image, self._machine.memory
        task = image.exported("init_task")
        if task is None:
            return None
        btf = image.btf
        structs = btf.named("task_struct", Struct) if btf is not None else []
        named = image.symbols.candidates("init_task")
        known = [kind.size for kind in structs] + [symbol.size for symbol in named]
        size = next(filter(None, known), _TASK_SIZE)
        new = self._new(number, _AREA // 2, size)
        words = struct.unpack(f"<{size // 8}Q", memory.read(task, size & -8))
        moved = [word - task + new if task <= word < task + size else word for word in words]
        memory.write(new, struct.pack(f"<{len(moved)}Q", *moved))
        for member in _CPU_MEMBERS:
            place = btf.offset("task_struct", member) if btf is not None else None
            if place is not None:
                memory.write(new + place, struct.pack("<I", number))
        return new

    def _new(self, number: int, at: int, size: int) -> int:
        memory = self._machine.memory
        start = self._machine.isa.vmalloc_start + _AREAS + number * _AREA + at
        if memory.region(start) is None:
            memory.map_new(start, page_up(size), Prot.RW, f"cpu {number}")
        return start


def _fill_x86(cpus: MoreCpus, number: int) -> None:
    machine, image = cpus._machine, cpus._image
    memory = machine.memory
    bounds = _percpu_bounds(image)
    if image.percpu_load is None or bounds is None:
        return  # there is one area for all
    start, size = bounds
    offset = cpus._percpu_area(number, start, image.percpu_load, size)
    fill_x86_percpu(machine, image, number, offset)
    task = cpus._task(number)
    numbers = [("cpu_number", 0)]
    if image.btf is not None:
        hot = image.btf.offset("pcpu_hot", "cpu_number")
        numbers += [] if hot is None else [("pcpu_hot", hot)]
    for name, at in numbers:
        variable = image.exported(name)
        if variable is not None:
            memory.write(offset + variable + at & MASK64, struct.pack("<I", number))
    for name in ("current_task", "pcpu_hot"):
        variable = image.exported(name)
        if variable is not None and task is not None:
            memory.write_u64(offset + variable & MASK64, task)


def _fill_arm64(cpus: MoreCpus, number: int) -> None:
    machine, image = cpus._machine, cpus._image
    assert isinstance(machine.cpu, Arm64Cpu)
    bounds = _percpu_bounds(image)
    if bounds is not None:
        start, size = bounds
        offset = cpus._percpu_area(number, start, start, size)
        machine.cpu.set_percpu_base(offset)
        table = image.exported("__per_cpu_offset")
        if table is not None:
            machine.memory.write_u64(table + 8 * number, offset)
        variable = image.exported("cpu_number")
        if variable is not None:
            machine.memory.write(offset + variable & MASK64, struct.pack("<I", number))
    task = cpus._task(number)
    if task is not None:
        machine.cpu.set_current(task)


_FILL: Mapping[str, Callable[[MoreCpus, int], None]] = halves(x86_64=_fill_x86, arm64=_fill_arm64)


def _percpu_bounds(image: KernelImage) -> tuple[int, int] | None:
    start, end = (image.exported(name) for name in ("__per_cpu_start", "__per_cpu_end"))
    return None if start is None or end is None or end <= start else (start, end - start)
