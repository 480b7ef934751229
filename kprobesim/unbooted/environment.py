"""The state that kernel functions take for granted: per-CPU area, stack canary, current task.

Each of these was found by leaving it out and watching kernel functions fail: without the per-CPU
base and the canary a third of them fault at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.machine.arm64 import Arm64Cpu
from kprobesim.machine.current_task import CurrentTask
from kprobesim.machine.machine import Machine
from kprobesim.patching.running_text import running_text
from kprobesim.sizes import MASK64, PAGE
from kprobesim.unbooted.kasan import set_up_kasan
from kprobesim.unbooted.pointer_auth import PointerAuth

__all__ = [
    "current_task",
    "fill_x86_percpu",
    "find_current_task",
    "percpu_offset",
    "set_up_environment",
]

_X86_CANARY = 0x28  # offset in fixed_percpu_data where compilers expect it (asm/processor.h)
_CANARY = 0x5AFE_57AC_CA4A_4200  # the kernel's canaries end in a zero byte, too
# A task that holds nothing and need not let others run: no count, and an inverted flag
# (arch/x86/include/asm/preempt.h, and asm/thread_info.h of ARM64). The images say 1: early boot is
# not preemptible.
_X86_PREEMPT_COUNTS = (("__preempt_count", 0), ("pcpu_hot", 8))  # the second in 6.2-6.14
_X86_NEED_NO_RESCHED = 1 << 31
_ARM64_TASK = {"thread_info.preempt_count": 1 << 32, "stack_canary": _CANARY}
_ARM64_VA_BITS = 48
_CURRENT_NAMES = ("current_task", "pcpu_hot")  # the second in 6.2-6.14: its first member
_TASK_SIZE = 4 * PAGE


def set_up_environment(machine: Machine, image: KernelImage) -> None:
    """Make ``machine`` look as it does on CPU 0 of a kernel that runs its first task."""
    _SET_UP[image.arch](machine, image)
    _patch_text(machine, image)
    set_up_kasan(machine, image)


def _address(image: KernelImage, name: str) -> int | None:
    found = image.symbols.candidates(name)
    return found[0].address if len(found) == 1 else None


def percpu_offset(image: KernelImage) -> int:
    """What is added to the address of a per-CPU variable to get CPU 0's."""
    return _PERCPU_OFFSETS[image.arch](image)


def _x86_percpu_offset(image: KernelImage) -> int:
    if image.percpu_load is None:
        return 0
    return (image.percpu_load - (_address(image, "__per_cpu_start") or 0)) & MASK64


# (ARM64's template serves as CPU 0's area where it is.)
_PERCPU_OFFSETS: Mapping[str, Callable[[KernelImage], int]] = halves(
    x86_64=_x86_percpu_offset, arm64=lambda _image: 0
)


def current_task(image: KernelImage) -> CurrentTask:
    """What leads to ``current``: a per-CPU variable on x86-64, SP_EL0 on ARM64."""
    return _CURRENT_TASKS[image.arch](image)


def _x86_current_task(image: KernelImage) -> CurrentTask:
    found = filter(None, (_address(image, name) for name in _CURRENT_NAMES))
    variable = next(found, None)
    return CurrentTask(
        variable=None if variable is None else (percpu_offset(image) + variable) & MASK64
    )


_CURRENT_TASKS: Mapping[str, Callable[[KernelImage], CurrentTask]] = halves(
    x86_64=_x86_current_task, arm64=lambda _image: CurrentTask("sp_el0")
)


def find_current_task(machine: Machine, image: KernelImage) -> Callable[[], int | None]:
    """What tells the address of ``current``; it gives ``None`` where the image names no place."""
    cpu = machine.cpu
    if isinstance(cpu, Arm64Cpu):
        return lambda: cpu.current() or None
    place = current_task(image).variable
    if place is None:
        return lambda: None
    return lambda: machine.memory.read_u64(place) or None


def _set_up_x86(machine: Machine, image: KernelImage) -> None:
    """The template of the per-CPU data serves as CPU 0's area, and %gs points there."""
    memory = machine.memory
    if image.percpu_load is None:
        # No area to be copied for each CPU: what is read through %gs is a variable like others, or
        # in a kernel so small the canary only.
        area = _address(image, "fixed_percpu_data")
        if area is None:
            area = machine.heap.alloc(PAGE, align=PAGE)
        machine.cpu.set_percpu_base(area)
        memory.write_u64(area + _X86_CANARY, _CANARY)
        return
    fill_x86_percpu(machine, image, 0, percpu_offset(image))


def fill_x86_percpu(machine: Machine, image: KernelImage, number: int, offset: int) -> None:
    """Let CPU ``number``, which runs, have its per-CPU variables ``offset`` behind their names."""
    memory = machine.memory
    start = _address(image, "__per_cpu_start") or 0
    machine.cpu.set_percpu_base(offset)
    variable = _address(image, "this_cpu_off")
    if variable is not None:
        memory.write_u64((offset + variable) & MASK64, offset)
    table = _address(image, "__per_cpu_offset")
    if table is not None:
        memory.write_u64(table + 8 * number, offset)
    guard = _address(image, "__stack_chk_guard")  # 6.15 and later: a variable like others
    if guard is not None:
        memory.write_u64((offset + guard) & MASK64, _CANARY)
    elif start == 0:
        memory.write_u64((offset + _X86_CANARY) & MASK64, _CANARY)
    for name, place in _X86_PREEMPT_COUNTS:
        variable = _address(image, name)
        if variable is not None:
            count = struct.pack("<I", _X86_NEED_NO_RESCHED)
            memory.write((offset + variable + place) & MASK64, count)


def _set_up_arm64(machine: Machine, image: KernelImage) -> None:
    """``current`` is init_task, per-CPU offset 0: the template is CPU 0's area."""
    machine.vcpu.traps.faults.append(PointerAuth(machine).handle)
    memory = machine.memory
    task = image.exported("init_task")
    if task is None:  # a small kernel: a task of zeroes will do
        task = machine.heap.alloc(_TASK_SIZE, align=PAGE)
    assert isinstance(machine.cpu, Arm64Cpu)
    machine.cpu.set_current(task)
    machine.cpu.set_percpu_base(0)
    if image.btf is not None:
        for member, value in _ARM64_TASK.items():
            place = image.btf.offset("task_struct", member)
            if place is not None:
                memory.write_u64(task + place, value)
    text = image.segments[0].vaddr
    region = memory.region(text)
    assert region is not None
    physical = text - region.start + region.offset + memory.base
    for name, value in (
        ("__stack_chk_guard", _CANARY),  # without CONFIG_STACKPROTECTOR_PER_TASK
        ("memstart_addr", memory.base),  # arch/arm64/mm/init.c: the first address of the linear map
        ("kimage_voffset", text - physical),  # arch/arm64/kernel/head.S
        ("vabits_actual", _ARM64_VA_BITS),  # of kernels for 52 bits, until 6.8
    ):
        variable = image.exported(name)
        if variable is not None:
            memory.write_u64(variable, value)


_SET_UP = halves(x86_64=_set_up_x86, arm64=_set_up_arm64)


def _patch_text(machine: Machine, image: KernelImage) -> None:
    """Put the code in as boot leaves it, and the variables that go with it."""
    text = running_text(image, static_keys=False)
    for address, code in text.areas.items():
        machine.memory.write(address, bytes(code))
    for address, value in text.variables.items():
        machine.memory.write(address, value)
