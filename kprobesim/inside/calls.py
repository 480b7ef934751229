"""Calls of a booted guest's functions, in process context.

A function may sleep, take locks and wait for others only where a task runs that holds nothing: not
in the middle of a printk, not in the idle loop. So the guest itself provides the place. As an
interrupt handler would, the host has it execute ``queue_work_on()`` (kernel/workqueue.c), and lets
it run on until one of its kworkers calls that work. There, as if the work were already done, the
CPU is parked, and each call borrows it: on a stack of its own, with time, interrupts and other
tasks going on, until the function returns and the kworker's registers come back. As long as nothing
else runs, further calls start from there at once.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kprobesim.boot.board import Board
from kprobesim.boot.faults import GuestEnd
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.errors import GuestError, GuestMemoryError, UsageError
from kprobesim.image import KernelImage
from kprobesim.inside.allocator import function_address
from kprobesim.inside.arrivals import Arrivals
from kprobesim.inside.call_pads import CallPads
from kprobesim.inside.cpu_context import Standing
from kprobesim.inside.oops import OopsWatch
from kprobesim.inside.task_context import interrupt_bits
from kprobesim.inside.workqueues import Workqueues
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.faults import GuestLimit, GuestTimeout
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.signals import signals

__all__ = ["GuestCalls"]

_QUEUE = "queue_work_on"  # (cpu, workqueue, work)
# struct work_struct: data, entry (an empty list), func. The number of the pool that it was in last
# is one that no pool has, whichever bits say so: else it might be done by who seems to do it still.
_WORK = struct.Struct("<QQQQ32x")
_IN_NO_POOL = 1 << 34
_KMALLOC = ("__kmalloc_noprof", "__kmalloc")
_VMALLOC = ("vmalloc_noprof", "vmalloc")
_FREE = "kvfree"
_GFP_NOWAIT = 0x800  # include/linux/gfp_types.h, the same from 5.10 on

# A stack as large as a task's. ARM64 takes a stack pointer for an overflow that has the bit of
# THREAD_SIZE set (arch/arm64/kernel/entry.S): bit 14, or 16 with pages of 64 KiB.
_STACK, _STACK_ALIGN, _ARENA = 16 << 10, 128 << 10, 256 << 10
_MARK, _MARK_BYTES = b"kprobesim stack\n", 64
_PATIENCE = 10.0  # host seconds
_TRIES, _TRY_SECONDS = 100, 2e-4  # to find a call that is given up
_MARGIN = 512  # below the stack pointer of whom we borrow a stack from


@dataclass
class _Parked:
    """The kworker's registers right after our work, and how to tell that it still stands there."""

    regs: PtRegs
    when: int
    task: int | None
    counts: list[bytes]
    cpu: int | None


class GuestCalls:
    """Calls functions of the guest on ``board``."""

    def __init__(
        self, board: Board, image: KernelImage, standing: Standing, arrivals: Arrivals
    ) -> None:
        self._board = board
        self._arrivals = arrivals
        self._image = image
        self._standing = standing
        self._machine = board.machine
        self._workqueues = Workqueues(image, board.machine.memory)
        self._bits = interrupt_bits(image.version)
        self._pads: CallPads | None = None
        self._oops = OopsWatch(board, image, standing)
        self._parked: _Parked | None = None
        self._stack: int | None = None

    # -- for the user ------------------------------------------------------------------------------

    def call(
        self,
        target: int,
        arguments: Sequence[int],
        *,
        timeout: float | None = _PATIENCE,
        max_instructions: int = 0,
        cpu: int | None = None,
    ) -> int:
        """Call the function at ``target`` and return the 64-bit result.

        On CPU number ``cpu``, if that is given.

        Raises :class:`GuestFault` for an oops of the call, :class:`GuestTimeout` after ``timeout``
        host seconds, :class:`GuestLimit` after ``max_instructions`` (a nanosecond of the guest's
        time each), what a handler raised, and :class:`BootError`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pads, parked = self._arrive(deadline, cpu)
        stack = self._find_stack(pads, parked, deadline)
        return self._borrow(pads, parked, target, arguments, stack, deadline, max_instructions)

    def arrive(self, timeout: float | None = _PATIENCE, cpu: int | None = None) -> None:
        """Let the guest run on to where it can be called, if it does not stand there already."""
        self._arrive(None if timeout is None else time.monotonic() + timeout, cpu)

    @property
    def is_free(self) -> bool:
        """Whether no call holds the kworker: what the last one has borrowed can be given back."""
        return self._parked is not None

    def save(self) -> Any:
        """What is remembered of the guest, for :meth:`restore` when it is as it is now again."""
        parked = None if self._parked is None else replace(self._parked)
        return parked, self._stack, None if self._pads is None else self._pads.save()

    def restore(self, kept: Any) -> None:
        """The guest is as it was when :meth:`save` gave ``kept``.

        ``None``: before the first call.
        """
        parked, self._stack, pads = kept or (None, None, None)
        self._parked = None if parked is None else replace(parked)
        if self._pads is not None:
            self._pads.restore(pads)

    # -- getting there -----------------------------------------------------------------------------

    def _check(self, cpu: int | None) -> None:
        board = self._board
        on = list(board.cpus_on)
        if cpu is not None and (type(cpu) is not int or cpu not in on):
            raise UsageError(f"cpu={cpu!r}: the guest's CPUs that are on are {on}")
        if cpu is not None and not self._is_online(cpu):
            raise UsageError(f"cpu={cpu}: the guest has taken that CPU off-line")
        if board.clock.running:
            raise UsageError(
                "a booted kernel cannot be called while it runs: not in a probe's handler, but "
                "after run() has returned"
            )
        if board.ended is not None:
            raise UsageError(f"the guest cannot be called any more: {board.ended}")

    def _is_online(self, cpu: int) -> bool:
        mask = self._image.exported("__cpu_online_mask")
        return mask is None or bool(self._machine.memory.read_u64(mask) >> cpu & 1)

    def _arrive(self, deadline: float | None, cpu: int | None) -> tuple[CallPads, _Parked]:
        self._check(cpu)
        pads = self._pads = self._pads or CallPads(self._board, self._image)
        parked = self._parked
        if parked is None or cpu not in (None, parked.cpu) or not self._is_parked(parked):
            self._parked = None
            known = self._arrivals.replay() if cpu is None else None
            if known is not None:
                self.restore(*known)
            elif cpu is not None:
                self._find_stack(pads, self._go_to_worker(pads, deadline, cpu), deadline)
            else:
                with self._arrivals.recording(self.save):
                    self._find_stack(pads, self._go_to_worker(pads, deadline, None), deadline)
            parked = self._parked
            assert parked is not None
        return pads, parked

    def _is_parked(self, parked: _Parked) -> bool:
        regs = self._machine.regs
        return (
            self._board.clock.now() == parked.when
            and (regs.ip, regs.sp) == (parked.regs.ip, parked.regs.sp)
            and self._standing.task() == parked.task
        )

    def _go_to_worker(self, pads: CallPads, deadline: float | None, cpu: int | None) -> _Parked:
        """Let the guest run until a kworker does our work, and hold it there."""
        queue, kmalloc = (
            function_address(self._image, _QUEUE),
            function_address(self._image, *_KMALLOC),
        )
        while not self._may_queue(pads):
            pads.stop_at_interrupt(self._workqueues.address)
            try:
                reason = self._board.run(lambda _: self._may_queue(pads), timeout=_left(deadline))
            finally:
                pads.stop_at_interrupt(None)
            if not pads.arrived and reason.kind is not Stop.CONDITION:
                self._raise(reason, "the guest came to no place from where to call")
        memory = self._machine.memory
        work = self._interject(pads, kmalloc, (_WORK.size, _GFP_NOWAIT), deadline)
        if not work:
            raise UsageError("the guest has no memory left: boot it with more (memory=)")
        memory.write(work, _WORK.pack(_IN_NO_POOL, work + 8, work + 8, pads.work))
        where = cpu or 0, self._workqueues.address(cpu)
        self._interject(pads, queue, (*where, work), deadline)
        pads.expect_work(work)
        try:
            self._wait(pads, deadline, None, "no kworker has come to our work")
        except BaseException:
            pads.give_up_work()
            raise
        self._machine.vcpu.return_to_caller()
        if cpu not in (None, self._machine.vcpu.number):
            raise UsageError(f"cpu={cpu}: the guest has taken that CPU off-line meanwhile")
        regs = self._machine.regs.copy()
        parked = self._park(_Parked(regs, 0, self._standing.task(), self._counts(), cpu))
        self._borrow(
            pads,
            parked,
            function_address(self._image, _FREE),
            (work,),
            regs.sp - _MARGIN,
            deadline,
            0,
        )
        return parked

    def _interject(
        self, pads: CallPads, target: int, arguments: Sequence[int], deadline: float | None
    ) -> int:
        """Have a function executed here and now, with interrupts masked: one that never sleeps."""
        machine = self._machine
        kept = machine.regs.copy()
        self._standing.mask_interrupts()
        self._enter(pads, target, arguments, kept.sp - _MARGIN)
        with signals:  # it is soon over, and nobody could take it back
            self._wait(pads, deadline, None, "a function that queues work did not return")
        result = machine.regs.return_value
        kept.thaw(machine.words, machine.cpu)
        return result

    def _may_queue(self, pads: CallPads) -> bool:
        """Whether an interrupt could be handled at this instruction, and so queue work."""
        if self._standing.in_user_mode() or not self._workqueues.address():
            return False
        ip = self._machine.regs.ip
        return (
            ip == pads.interrupt or self._standing.takes_interrupts() or self._board.halted_at(ip)
        )

    def _park(self, parked: _Parked) -> _Parked:
        parked.when = self._board.clock.now()
        self._parked = parked
        return parked

    def _find_stack(self, pads: CallPads, parked: _Parked, deadline: float | None) -> int:
        """The top of the stack for calls.

        It is memory of the guest's, so it goes away when the guest is set back to an earlier state:
        a mark tells.
        """
        mark = _MARK * (_MARK_BYTES // len(_MARK))
        if self._stack is not None:
            try:
                if self._machine.memory.read(self._stack, _MARK_BYTES) == mark:
                    return self._stack
            except GuestMemoryError:
                pass
        vmalloc = function_address(self._image, *_VMALLOC)
        arena = self._borrow(
            pads, parked, vmalloc, (_ARENA,), parked.regs.sp - _MARGIN, deadline, 0
        )
        if not arena:
            raise UsageError("the guest has no memory for a stack: boot it with more (memory=)")
        bottom = arena + _ARENA - _STACK & -_STACK_ALIGN
        self._stack = bottom + _STACK - _MARK_BYTES
        self._machine.memory.write(self._stack, mark)
        return self._stack

    # -- being there -------------------------------------------------------------------------------

    def _borrow(
        self,
        pads: CallPads,
        parked: _Parked,
        target: int,
        arguments: Sequence[int],
        stack: int,
        deadline: float | None,
        limit: int,
    ) -> int:
        """Let the parked kworker execute a function."""
        machine, began = self._machine, self._board.clock.now()
        self._parked = None
        self._enter(pads, target, arguments, stack)
        seconds = limit / 1e9 if limit else None
        try:
            with self._oops.watching(parked.task):
                self._wait(pads, deadline, seconds, "guest still running")
            if self._oops.seen:
                raise self._oops.fault()
        except GuestError as error:
            if isinstance(error, GuestLimit):
                error.nanoseconds = self._board.clock.now() - began
            self._give_up(pads, parked, stack)
            raise
        except BaseException:
            self._give_up(pads, parked, stack)
            raise
        result = machine.regs.return_value
        self._restore(parked)
        return result

    def _enter(self, pads: CallPads, target: int, arguments: Sequence[int], stack: int) -> None:
        machine = self._machine
        machine.cpu.prepare_call(machine.memory, stack & ~15, arguments, pads.back)
        machine.regs.ip = target
        self._board.awake()
        pads.expect_return()

    def _restore(self, parked: _Parked) -> None:
        parked.regs.copy().thaw(self._machine.words, self._machine.cpu)
        self._park(parked)

    def _wait(
        self, pads: CallPads, deadline: float | None, seconds: float | None, what: str
    ) -> None:
        """Run until the CPU has come to a pad."""
        reason = self._board.run(timeout=_left(deadline), seconds=seconds)
        if not pads.arrived and not self._oops.seen:
            self._raise(reason, what)

    def _raise(self, reason: StopReason, what: str) -> None:
        board, machine = self._board, self._machine
        if board.ended is not None:
            board.fail(GuestEnd, f"the guest ended before the call did: {reason}")
        regs = machine.regs.copy()
        place, trace = machine.symbolize(regs.ip), machine.unwind(regs)
        if reason.kind is Stop.SECONDS:
            raise GuestLimit(f"{what} after max_instructions", regs, place, trace)
        raise GuestTimeout(f"{what}: {reason}", regs, place, trace)

    # -- getting out of it -------------------------------------------------------------------------

    def _counts(self) -> list[bytes]:
        """What the kernel counts for the running task while it holds something."""
        memory = self._machine.memory
        return [memory.read(place, 4) for place in self._standing.counters()]

    def _give_up(self, pads: CallPads, parked: _Parked, stack: int) -> None:
        """The call will not return here: take its kworker away from it, as soon as that runs.

        If it does not, because it sleeps, it comes to its end in the background.
        """
        with signals:  # of which one may have been the reason
            reached = self._oops.seen or self._reach(parked)
        if reached:
            pads.forget()
            for place, value in zip(self._standing.counters(), parked.counts, strict=True):
                self._machine.memory.write(place, value)
            self._restore(parked)
        else:
            pads.abandon(parked.regs)
            if stack == self._stack:
                self._stack = None

    def _reach(self, parked: _Parked) -> bool:
        """Let the guest run on to where the kworker itself runs, not an interrupt's handler."""
        standing, board = self._standing, self._board
        for _ in range(_TRIES):
            for _cpu in board.each_cpu():
                if (
                    standing.task() == parked.task
                    and standing.takes_interrupts()
                    and not self._in_interrupt()
                ):
                    return True
            try:
                board.run(seconds=_TRY_SECONDS)
            except Exception:  # a handler's, again; what matters is the one before
                return False
            if board.ended is not None:
                return False
        return any(
            standing.task() == parked.task and not self._in_interrupt() for _cpu in board.each_cpu()
        )

    def _in_interrupt(self) -> bool:
        places = self._standing.counters()
        return bool(places and self._bits.name(self._machine.memory.read_u32(places[0])))


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
