"""The error that tells of a guest's end: where, called by whom, and what the others did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.boot.faults import BootError, GuestHang, GuestPanic
from kprobesim.boot.missing_config import lacks
from kprobesim.boot.other_cpus import other_cpus
from kprobesim.boot.panics import panic_in_trace, panic_line

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["failure_of"]


def failure_of(board: Board, error: type[BootError], headline: str) -> BootError:
    """An ``error`` with the place, the call trace and the console's tail.

    It is a :class:`GuestPanic` instead of a hang where a CPU panics.
    """
    machine = board.machine
    cpu, regs = machine.vcpu.number, machine.regs.copy()
    trace, others = machine.unwind(regs), other_cpus(board, cpu)
    panic = panic_in_trace(trace)
    if panic is None and error in (GuestPanic, GuestHang):
        for other in others:
            if panic_in_trace(other.trace) is not None:
                cpu, trace = other.number, list(other.trace)
                regs, others = machine.vcpus[cpu].saved_regs(), other_cpus(board, cpu)
                panic = panic_in_trace(trace)
                break
    place = machine.symbolize(regs.ip)
    if error is GuestHang and panic is not None:
        error, headline = GuestPanic, panic_line(board.console)
    if error is GuestPanic and panic is not None:
        trace = trace[panic:]  # what panic() called only prints, or waits for ever
        place = trace[0].removeprefix("? ")
    hints = lacks(board.image, board.append, silent=not board.console.output.strip())
    schedule = board.recorded.schedule_text()
    return error(headline, regs, place, trace, board.console.tail(), hints, cpu, others, schedule)
