"""The state that kernel functions take for granted: per-CPU area, stack canary, current task.

Each of these was found by leaving it out and watching kernel functions fail: without the per-CPU
base and the canary a third of them fault at once.
"""

from __future__ import annotations

import struct

from kprobesim.image import KernelImage
from kprobesim.machine.arm64 import Arm64Cpu
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import PAGE

__all__ = ["set_up_environment"]

_X86_CANARY = 0x28  # offset in fixed_percpu_data where compilers expect it (asm/processor.h)
_CANARY = 0x5AFE_57AC_CA4A_4200  # the kernel's canaries end in a zero byte, too
_TASK_SIZE = 4 * PAGE

_X86_NOP5 = bytes.fromhex("0f1f440000")  # what ftrace_make_nop() writes
_ARM64_MOV_X9_LR = struct.pack("<I", 0xAA1E03E9)  # what ftrace_init_nop() writes first


def set_up_environment(machine: Machine, image: KernelImage) -> None:
    """Make ``machine`` look as it does on CPU 0 of a kernel that runs its first task."""
    if image.arch == "x86_64":
        _set_up_x86(machine, image)
    else:
        _set_up_arm64(machine, image)
    _make_ftrace_nops(machine, image)


def _address(image: KernelImage, name: str) -> int | None:
    found = image.symbols.candidates(name)
    return found[0].address if len(found) == 1 else None


def _set_up_x86(machine: Machine, image: KernelImage) -> None:
    """The template of the per-CPU data serves as CPU 0's area, and %gs points there."""
    if image.percpu_load is None:
        return
    start = _address(image, "__per_cpu_start") or 0
    offset = (image.percpu_load - start) % (1 << 64)
    machine.cpu.set_percpu_base(offset)
    memory = machine.memory
    variable = _address(image, "this_cpu_off")
    if variable is not None:
        memory.write_u64((offset + variable) % (1 << 64), offset)
    table = _address(image, "__per_cpu_offset")
    if table is not None:
        memory.write_u64(table, offset)
    guard = _address(image, "__stack_chk_guard")  # 6.15 and later: a variable like others
    if guard is not None:
        memory.write_u64((offset + guard) % (1 << 64), _CANARY)
    elif start == 0:
        memory.write_u64(image.percpu_load + _X86_CANARY, _CANARY)


def _set_up_arm64(machine: Machine, image: KernelImage) -> None:
    """``current`` is init_task, per-CPU offset 0: the template is CPU 0's area."""
    task = _address(image, "init_task")
    if task is None:  # a stripped image without KALLSYMS_ALL: a task of zeroes will do
        task = machine.heap.alloc(_TASK_SIZE, align=PAGE)
    assert isinstance(machine.cpu, Arm64Cpu)
    machine.cpu.set_current(task)
    machine.cpu.set_percpu_base(0)


def _make_ftrace_nops(machine: Machine, image: KernelImage) -> None:
    """Turn the entries of traceable functions into what ftrace leaves when nothing is traced.

    x86-64: the call of __fentry__ becomes one 5-byte NOP. ARM64: of the two NOPs the first becomes
    ``mov x9, x30`` (arch/arm64/kernel/ftrace.c).
    """
    memory = machine.memory
    for site in image.ftrace_sites:
        if image.arch == "arm64":
            memory.write(site - len(_ARM64_MOV_X9_LR), _ARM64_MOV_X9_LR)
        elif memory.read(site, 1) == b"\xe8":
            memory.write(site, _X86_NOP5)
