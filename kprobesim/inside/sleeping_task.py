"""Where a task stands that does not run: what ``switch_to()`` has saved of its registers.

x86-64 keeps them on the task's stack (``struct inactive_task_frame``,
arch/x86/include/asm/switch_to.h), ARM64 in ``thread.cpu_context`` of its ``task_struct``
(arch/arm64/include/asm/processor.h); the same from 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kprobesim.arch.architecture import architecture, halves
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.types.btf import Btf

__all__ = ["sleeping_registers"]

_FRAME, _CONTEXT = "inactive_task_frame", ("pc", "sp", "fp")
_Read = Callable[[int], int]


def sleeping_registers(
    image: KernelImage, memory: HostAccess, task: int, like: PtRegs
) -> PtRegs | None:
    """The registers that its callers are found by, of a task that sleeps.

    Args:
        image: The kernel.
        memory: Its memory.
        task: The address of the ``task_struct``.
        like: Any registers of the same guest.

    Returns:
        The program counter, the stack pointer and the frame pointer; all else is that of ``like``.
        ``None`` if the kernel does not say where they are.
    """
    if image.btf is None:
        return None
    try:
        found = _FIND[image.arch](image.btf, memory.read_u64, task)
    except GuestMemoryError:
        return None
    if found is None:
        return None
    regs = like.copy()
    regs.ip, regs.sp, frame_pointer = found
    abi = architecture(image.arch).abi
    regs.set_gpr(abi.number(abi.frame_pointer), frame_pointer)
    return regs


def _x86(btf: Btf, read: _Read, task: int) -> tuple[int, int, int] | None:
    sp = btf.offset("task_struct", "thread.sp")
    base, back = btf.offset(_FRAME, "bp"), btf.offset(_FRAME, "ret_addr")
    if sp is None or base is None or back is None:
        return None
    frame = read(task + sp)
    return read(frame + back), frame + back + 8, read(frame + base)


def _arm64(btf: Btf, read: _Read, task: int) -> tuple[int, int, int] | None:
    places = [
        btf.offset("task_struct", f"thread.cpu_context.{name}") for name in ("pc", "sp", "fp")
    ]
    pc, sp, fp = (None if place is None else read(task + place) for place in places)
    return None if pc is None or sp is None or fp is None else (pc, sp, fp)


_FIND: Mapping[str, Callable[[Btf, _Read, int], tuple[int, int, int] | None]] = halves(
    x86_64=_x86, arm64=_arm64
)
