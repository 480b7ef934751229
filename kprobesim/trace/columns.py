"""The columns before an event's own words: who, where, in which context, when.

kernel/trace/trace.c (``print_func_help_header_irq()``) and trace_output.c
(``trace_print_context()``, ``trace_print_lat_fmt()``), 5.10 to 7.3.
"""

from __future__ import annotations

import enum
from functools import cache

from kprobesim.trace.entry import TraceEntry

__all__ = ["Columns", "TraceFlag"]

_MIGRATE_DISABLE = 5, 18  # the fifth column, and BH-disabled in the first
_LAZY = 6, 13


class TraceFlag(enum.IntFlag):
    """``common_flags`` of a record (include/linux/trace_events.h)."""

    IRQS_OFF = 0x01
    NEED_RESCHED_LAZY = 0x02
    NEED_RESCHED = 0x04
    HARDIRQ = 0x08
    SOFTIRQ = 0x10
    PREEMPT_RESCHED = 0x20
    NMI = 0x40
    BH_OFF = 0x80


_NEED = int(TraceFlag.NEED_RESCHED)
_LAZILY = int(TraceFlag.NEED_RESCHED_LAZY)
_PREEMPT = int(TraceFlag.PREEMPT_RESCHED)
_RESCHED = {
    0: ".",
    _NEED: "n",
    _PREEMPT: "p",
    _NEED | _PREEMPT: "N",
    _LAZILY: "l",
    _LAZILY | _NEED: "b",
    _LAZILY | _PREEMPT: "L",
    _LAZILY | _NEED | _PREEMPT: "B",
}


_PLAIN = (
    "#           TASK-PID    {tgid} CPU#     TIMESTAMP  FUNCTION",
    "#              | |      {bar}   |         |         |",
)
_FOUR = (
    "#                            {space}  _-----=> irqs-off",
    "#                            {space} / _----=> need-resched",
    "#                            {space}| / _---=> hardirq/softirq",
    "#                            {space}|| / _--=> preempt-depth",
    "#                            {space}||| /     delay",
    "#           TASK-PID  {tgid} CPU#  ||||   TIMESTAMP  FUNCTION",
    "#              | |    {bar}   |   ||||      |         |",
)
_FIVE = (
    "#                            {space}  _-----=> irqs-off/BH-disabled",
    "#                            {space} / _----=> need-resched",
    "#                            {space}| / _---=> hardirq/softirq",
    "#                            {space}|| / _--=> preempt-depth",
    "#                            {space}||| / _-=> migrate-disable",
    "#                            {space}|||| /     delay",
    "#           TASK-PID  {tgid} CPU#  |||||  TIMESTAMP  FUNCTION",
    "#              | |    {bar}   |   |||||     |         |",
)


class Columns:
    """The columns as a kernel of some version has them.

    Attributes:
        has_migration: Whether it shows that migration is disabled, and bottom halves (5.18).
        has_lazy: Whether it knows of rescheduling lazily (6.13).
    """

    def __init__(self, version: tuple[int, ...]) -> None:
        """``version`` is :attr:`KernelImage.version <kprobesim.image.KernelImage.version>`."""
        self.has_migration = version >= _MIGRATE_DISABLE
        self.has_lazy = version >= _LAZY
        self._context = cache(self.context)

    def header(
        self, tracer: str, entries: int, written: int, *, cpus: int, irq_info: bool, tgid: bool
    ) -> str:
        """What stands above the entries of ``trace``.

        Args:
            tracer: The tracer that is chosen.
            entries: How many there are.
            written: How many were ever written.
            cpus: How many CPUs are switched on.
            irq_info: Whether the option ``irq-info`` is on.
            tgid: Whether the option ``record-tgid`` is on.
        """
        lines = (_FIVE if self.has_migration else _FOUR) if irq_info else _PLAIN
        if irq_info:
            words = {
                "space": " " * (12 if tgid else 2),
                "tgid": "     TGID   " if tgid else "  ",
                "bar": "       |    " if tgid else "  ",
            }
        else:
            words = {"tgid": "   TGID   " if tgid else "", "bar": "     |    " if tgid else ""}
        counts = f"# entries-in-buffer/entries-written: {entries}/{written}   #P:{cpus}"
        above = [f"# tracer: {tracer}", "#", counts, "#"]
        return "\n".join([*above, *(line.format(**words) for line in lines), ""])

    def context(self, flags: int, preempt_count: int) -> str:
        """What the CPU was doing, a character for each column."""
        off, bh_off = flags & TraceFlag.IRQS_OFF, flags & TraceFlag.BH_OFF
        first = "D" if off and bh_off else "d" if off else "b" if bh_off else "."
        nmi, hard, soft = (
            flags & flag for flag in (TraceFlag.NMI, TraceFlag.HARDIRQ, TraceFlag.SOFTIRQ)
        )
        if nmi:
            third = "Z" if hard else "z"
        elif hard:
            third = "H" if soft else "h"
        else:
            third = "s" if soft else "."
        second = _RESCHED[flags & (_NEED | _LAZILY | _PREEMPT)]
        if not self.has_migration:
            return f"{first}{second}{third}{_depth(preempt_count)}"
        return (
            f"{first}{second}{third}{_depth(preempt_count & 15)}{_depth(preempt_count >> 4 & 15)}"
        )

    def before(self, entry: TraceEntry, comm: str, *, irq_info: bool, tgid: bool) -> str:
        """All that stands before the event's own words, a space behind it.

        Args:
            entry: The entry.
            comm: What its task is called by now.
            irq_info: As for :meth:`header`.
            tgid: As for :meth:`header`.
        """
        who = f"{comm:>16}-{entry.pid:<7} "
        if tgid:
            who += f"({entry.tgid:7}) " if entry.tgid else "(-------) "
        context = self._context(entry.flags, entry.preempt_count) if irq_info else ""
        seconds, microseconds = divmod((entry.time + 500) // 1000, 1_000_000)
        return f"{who}[{entry.cpu:03}] {context} {seconds:5}.{microseconds:06}: "


def _depth(number: int) -> str:
    return f"{number:x}" if number else "."
