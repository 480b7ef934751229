"""``TraceEntry``: one entry of a trace; as text it is the kernel's own line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kprobesim.hexrepr import HexRepr

__all__ = ["TraceEntry"]


@dataclass(frozen=True, repr=False)
class TraceEntry(HexRepr):
    """What one hit of an event has left behind.

    Attributes:
        time: Nanoseconds of the guest's own time.
        cpu: The number of the CPU.
        pid: The thread's; 0 for the idle task, and where no task is.
        tgid: The process's.
        comm: The task's name, as far as the kernel's ``saved_cmdlines`` would know it.
        flags: ``common_flags`` of the record: what the CPU was doing (``TRACE_FLAG_*``).
        preempt_count: ``common_preempt_count``: how deep preemption was disabled, in the low four
            bits, and since 5.18 migration, in the high four.
        event: The event, as ``GROUP/NAME``.
        ip: Where the probe is (``__probe_ip``); of a return event where the function returns to.
        func: Of a return event the function; else ``None``.
        fields: The arguments by name: numbers, strings, tuples of arrays, and ``FAULT`` for a
            string that could not be read.
        stack: Addresses of the callers, the innermost first, where that was asked for.
    """

    time: int
    cpu: int
    pid: int
    tgid: int
    comm: str
    flags: int
    preempt_count: int
    event: str
    ip: int
    func: int | None
    fields: Mapping[str, Any]
    stack: tuple[int, ...] | None = None
    show: Callable[[TraceEntry], str] | None = field(default=None, compare=False)
    """Makes the text; whoever reads entries has no need of it."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> TraceEntry:
        """One of all ``values``, which it keeps: a fifth of the time that the class takes."""
        entry = object.__new__(cls)
        object.__setattr__(entry, "__dict__", values)
        return entry

    @property
    def ret_ip(self) -> int | None:
        """Where the function returns to (``__probe_ret_ip``); ``None``: it is no return event."""
        return None if self.func is None else self.ip

    @property
    def name(self) -> str:
        """The event's name without its group."""
        return self.event.rpartition("/")[2]

    @property
    def group(self) -> str:
        """The event's group."""
        return self.event.rpartition("/")[0]

    def __str__(self) -> str:
        return repr(self) if self.show is None else self.show(self)
