"""The two places where a called function's CPU is caught, in code that the guest never executes.

``work`` is the function that a kworker is given, ``back`` the return address of a call. Both are
instructions of the kernel's own text that only trap, so nobody comes there but by our doing, and
whoever does is told apart by the work's address or by the stack pointer. Hooks catch the CPU: no
byte of the guest changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.boot.board import Board
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.errors import ImageError
from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.registers import PtRegs

__all__ = ["CallPads"]

_INTERRUPT = "irq_enter_rcu"  # kernel/softirq.c, since 5.8: the first thing that an interrupt does


class CallPads:
    """Hooks on the pads and on the entry of interrupts; ``arrived``: the run ended at one."""

    def __init__(self, board: Board, image: KernelImage) -> None:
        self._board = board
        self._machine = machine = board.machine
        self._engine, self._words = machine.engine, machine.words
        regs = machine.cpu.regs_class
        self._argument, self._sp = regs.ARGUMENTS[0], regs.STACK_POINTER
        self._expected_work = self._expected_sp = -1
        self._given_up: set[int] = set()
        self._abandoned: dict[int, PtRegs] = {}
        self._may_stop: Callable[[], object] | None = None
        self.arrived = False
        self.work, self.back = _find_traps(image)
        found = image.symbols.candidates(_INTERRUPT)
        self.interrupt = found[0].address if found else -1
        for address, callback in (
            (self.work, self._on_work),
            (self.back, self._on_back),
            (self.interrupt, self._on_interrupt),
        ):
            if address >= 0:
                machine.code_watch.watch(address, callback, INSIDE)

    # -- what may arrive ---------------------------------------------------------------------------

    def stop_at_interrupt(self, may_stop: Callable[[], object] | None) -> None:
        """End the run at the next interrupt for which ``may_stop()`` is true; ``None``: do not."""
        self._may_stop = may_stop
        if may_stop is not None:
            self.arrived = False

    def expect_work(self, work: int) -> None:
        """End the run when a kworker does the work at this address; forget the one before."""
        self.give_up_work()
        self._given_up.discard(work)
        self._expected_work = work
        self.arrived = False

    def give_up_work(self) -> None:
        """A kworker that does the work after all just goes on behind it."""
        if self._expected_work >= 0:
            self._given_up.add(self._expected_work)
            self._expected_work = -1

    def expect_return(self) -> None:
        """The registers are those of a function's first instruction: end the run after its last."""
        self._expected_sp = self._words[self._sp] + self._machine.isa.abi.return_bytes
        self.arrived = False

    def forget(self) -> None:
        """The function will never return."""
        self._expected_sp = -1

    def abandon(self, regs: PtRegs) -> None:
        """When the function returns after all, let its kworker go on with ``regs``."""
        self._abandoned[self._expected_sp] = regs
        self._expected_sp = -1

    def save(self) -> Any:
        """What may arrive, for :meth:`restore`."""
        return self._expected_work, self._expected_sp, set(self._given_up), dict(self._abandoned)

    def restore(self, kept: Any) -> None:
        """Expect what was expected at :meth:`save`; ``None``: nothing."""
        work, sp, given_up, abandoned = kept or (-1, -1, (), {})
        self._expected_work, self._expected_sp = work, sp
        self._given_up, self._abandoned = set(given_up), dict(abandoned)

    # -- what arrives ------------------------------------------------------------------------------

    def _stop(self) -> None:
        self.arrived = True
        self._board.stop(StopReason(Stop.REQUESTED, "the call"))
        self._engine.stop()

    def _on_interrupt(self, _address: int) -> None:
        if self._may_stop is not None and self._may_stop():
            self._stop()

    def _on_work(self, _address: int) -> bool:
        work = self._words[self._argument]
        if work == self._expected_work:
            self._expected_work = -1
            self._stop()
        elif work in self._given_up:
            self._given_up.remove(work)
            self._machine.vcpu.return_to_caller()
            self._engine.leave_block()
            return True
        return False

    def _on_back(self, _address: int) -> bool:
        sp = self._words[self._sp]
        if sp == self._expected_sp:
            self._expected_sp = -1
            self._stop()
        elif sp in self._abandoned:
            regs = self._abandoned.pop(sp)
            regs.thaw(self._words, self._machine.cpu)
            self._engine.leave_block()
            return True
        return False


def _find_traps(image: KernelImage) -> tuple[int, int]:
    isa = image.isa
    trap, align = isa.trap, isa.insn_align
    found: list[int] = []
    for start, end in image.text_ranges:
        code = image.read(start, end - start)
        at = code.find(trap)
        while at >= 0 and len(found) < 2:
            if (start + at) % align == 0:
                found.append(start + at)
            at = code.find(trap, at + 1)
    if len(found) < 2:
        raise ImageError(image.path, "has no trap instructions in its code, where calls could end")
    return found[0], found[1]
