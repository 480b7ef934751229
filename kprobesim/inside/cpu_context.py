"""Where the CPU of a booted guest stands: in which mode, with which interrupts, in whose task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kprobesim.arch.architecture import halves
from kprobesim.arch.arm64.system_registers import SP_EL0, TPIDR_EL1
from kprobesim.boot.board import Board
from kprobesim.boot.x86_64.state import HF_CPL, HF_INHIBIT_IRQ
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.inside.per_cpu import CURRENT_NAMES, find_entry_task
from kprobesim.machine.current_task import CurrentTask
from kprobesim.sizes import MASK64

if TYPE_CHECKING:  # of two boards one is used
    from kprobesim.boot.arm64.board import Arm64Board
    from kprobesim.boot.x86_64.board import X86Board

__all__ = ["Standing", "make_standing"]

_HIGH_HALF = 1 << 63

_IF = 0x200

_EL_BITS, _DAIF_I, _DAIF = 0xC, 0x80, 0x3C0


class Standing(Protocol):
    """What the boards' CPUs have to say."""

    def in_user_mode(self) -> bool:
        """Whether the CPU executes a user's program."""

    def takes_interrupts(self) -> bool:
        """Whether an interrupt would be taken at this very instruction."""

    def mask_interrupts(self) -> None:
        """From now on the CPU takes no interrupts."""

    def task(self) -> int | None:
        """The address of the running ``task_struct``; ``None`` before there are tasks."""

    @property
    def current(self) -> CurrentTask:
        """The way there while the kernel runs."""

    def counters(self) -> list[int]:
        """Where preempt_count is, and then what else counts what the running task holds."""

    def per_cpu_offset(self) -> int:
        """What is added to the address of a per-CPU variable to get this CPU's."""


def make_standing(board: Board, image: KernelImage) -> Standing:
    """The one for the board's architecture."""
    return _STANDINGS[board.machine.arch](board, image)


class X86Standing:
    """The task is a per-CPU variable: arch/x86/include/asm/current.h.

    ``current_task`` has its own symbol, but in 6.2-6.14 it is the first member of ``pcpu_hot``.
    """

    def __init__(self, board: X86Board, image: KernelImage) -> None:
        self._state = board.state
        self._words, self._flags = board.machine.words, board.machine.engine.layout.flags
        self._memory = board.machine.memory
        self._kernel_gs = board.state.msr["kernel_gs_base"]
        found = [s for name in CURRENT_NAMES for s in image.symbols.candidates(name)]
        self._current = found[0].address if found else None
        self._image = image

    def in_user_mode(self) -> bool:
        """Ring 3."""
        return bool(self._state.hflags & HF_CPL)

    def takes_interrupts(self) -> bool:
        """IF is set, and not by the instruction before."""
        return bool(self._state.eflags & _IF) and not self._state.hflags & HF_INHIBIT_IRQ

    def mask_interrupts(self) -> None:
        """CLI."""
        self._words[self._flags] &= ~_IF

    def task(self) -> int | None:
        """Through the kernel's GS, which SWAPGS keeps in an MSR while the user's is in use."""
        if self._current is None:
            return None
        return _task_at(self._memory, self.per_cpu_offset() + self._current)

    def per_cpu_offset(self) -> int:
        """The kernel's GS."""
        gs: int = self._state.gs_base
        if self.in_user_mode() or not (gs + (self._current or 0)) & _HIGH_HALF:
            gs = self._kernel_gs.value
        return gs

    @property
    def current(self) -> CurrentTask:
        """The per-CPU variable."""
        return CurrentTask(variable=self._current, bases=("gs_base", "kernel_gs_base"))

    def counters(self) -> list[int]:
        """``__preempt_count``, in 6.2-6.14 another member of ``pcpu_hot``; while in the kernel."""
        symbols, btf = self._image.symbols, self._image.btf
        places = [s.address for s in symbols.candidates("__preempt_count")]
        hot = symbols.candidates("pcpu_hot")
        if hot and btf is not None:
            offset = btf.offset("pcpu_hot", "preempt_count")
            places += [hot[0].address + offset] if offset is not None else []
        places = [place + self._state.gs_base & MASK64 for place in places[:1]]
        return places + _rcu_nesting(self._image, self.task()) if places else []


class Arm64Standing:
    """The task is in SP_EL0 while the kernel runs: arch/arm64/include/asm/current.h.

    The entry from user mode, where SP_EL0 is the user's, loads it from per-CPU ``__entry_task``,
    which has no symbol without CONFIG_KALLSYMS_ALL: then its address is read from that code.
    """

    def __init__(self, board: Arm64Board, image: KernelImage) -> None:
        self._cpu, self._engine = board.machine.cpu, board.machine.engine
        self._words, self._flags = board.machine.words, self._engine.layout.flags
        self._memory = board.machine.memory
        self._sp_el0 = self._engine.system_register(*SP_EL0)
        self._tpidr = self._engine.system_register(*TPIDR_EL1)
        self._image = image
        self._entry_task = find_entry_task(image)

    def in_user_mode(self) -> bool:
        """EL0."""
        return not self._cpu.read_flags() & _EL_BITS

    def takes_interrupts(self) -> bool:
        """PSTATE.I is clear."""
        return not self._cpu.read_flags() & _DAIF_I

    def mask_interrupts(self) -> None:
        """All of DAIF, as in an exception handler."""
        self._words[self._flags] |= _DAIF

    def task(self) -> int | None:
        """SP_EL0, or what the next entry will put there."""
        if not self.in_user_mode():
            task = self._sp_el0.read()
            if task & _HIGH_HALF:
                return task
        if self._entry_task is None:
            return None
        return _task_at(self._memory, self._entry_task + self._tpidr.read() & MASK64)

    def per_cpu_offset(self) -> int:
        """TPIDR_EL1."""
        return self._tpidr.read()

    @property
    def current(self) -> CurrentTask:
        """SP_EL0, or the per-CPU variable."""
        return CurrentTask("sp_el0", self._entry_task, ("tpidr",))

    def counters(self) -> list[int]:
        """The low half of ``thread_info.preempt_count``, at the start of the task."""
        task, btf = self.task(), self._image.btf
        offset = btf.offset("task_struct", "thread_info.preempt_count") if btf else None
        if task is None or offset is None:
            return []
        return [task + offset, *_rcu_nesting(self._image, task)]


class _Memory(Protocol):
    def read_u64(self, address: int) -> int: ...


def _task_at(memory: _Memory, pointer: int) -> int | None:
    try:
        task = memory.read_u64(pointer & MASK64)
    except GuestMemoryError:
        return None  # so early that per-CPU variables are not mapped
    return task if task & _HIGH_HALF else None


def _rcu_nesting(image: KernelImage, task: int | None) -> list[int]:
    """With CONFIG_PREEMPT_RCU a task counts its read-side critical sections."""
    offset = image.btf.offset("task_struct", "rcu_read_lock_nesting") if image.btf else None
    return [] if offset is None or task is None else [task + offset]


_STANDINGS: Mapping[str, Callable[[Any, KernelImage], Standing]] = halves(
    x86_64=X86Standing, arm64=Arm64Standing
)
