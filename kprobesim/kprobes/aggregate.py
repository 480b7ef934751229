"""``AggrKprobe``: several probes at one address, behind one breakpoint.

``aggr_pre_handler`` and its siblings of kernel/kprobes.c (6.1): the newest probe comes first,
before the instruction and after it.
"""

from __future__ import annotations

from typing import Any

from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.kprobe import (
    DISABLED_OR_GONE,
    HandlerAbandoned,
    Kprobe,
    KprobeFlag,
    ListType,
    is_true,
)
from kprobesim.kprobes.percpu import PerCpu

__all__ = ["AggrKprobe"]

_and = int.__and__  # enumerations take a microsecond for that
_GONE = int(KprobeFlag.GONE)


class AggrKprobe(Kprobe):
    """The head of the probes at one address: it is armed, they are called.

    ``children`` are in the order of their handlers; a change makes a new tuple, so a handler may
    make one. Which
    handlers the head has follows from its children, at any time. ``strict``: a fault outside of a
    handler is offered to nobody, as in the kernel.
    """

    __slots__ = ("_ctlblk", "_strict", "children")

    __setattr__ = object.__setattr__  # type: ignore[assignment]

    def __init__(
        self, first: Kprobe, ctlblk: PerCpu[KprobeCtlblk], *, strict: bool = False
    ) -> None:
        """Stand before ``first``; ``ctlblk`` is told whose handler runs on each CPU."""
        self.symbol_name = None
        self.addr = first.addr
        self.offset = 0
        self.opcode = first.opcode
        self.ainsn = first.ainsn
        self.flags = first.flags
        self.detour = first.detour
        self.nmissed = 0
        self.children: tuple[Kprobe, ...] = (first,)
        self._ctlblk = ctlblk
        self._strict = strict

    def __repr__(self) -> str:
        return f"<AggrKprobe at {self.addr:#x}: {len(self.children)} probes>"

    def add(self, p: Kprobe) -> None:
        """``p`` joins, before the others; the instruction is what it is for them.

        A jprobe comes last (kernels before 4.15): when it is done, the instruction is executed.
        """
        p.opcode = self.opcode
        p.ainsn = self.ainsn
        self.children = (
            (*self.children, p) if p.list_type is ListType.JPROBE else (p, *self.children)
        )

    def remove(self, p: Kprobe) -> None:
        """``p`` leaves."""
        self.children = tuple(other for other in self.children if other is not p)

    def share(self, ainsn: Any) -> None:
        """The instruction has been prepared anew, for all."""
        self.ainsn = ainsn
        for p in self.children:
            p.ainsn = ainsn

    @property
    def all_disabled(self) -> bool:
        """``aggr_kprobe_disabled()``: no child wants to be called."""
        return all(p.disabled for p in self.children)

    def count_miss(self) -> None:
        """A miss is each child's, the disabled ones' too."""
        for p in self.children:
            p.count_miss()

    # -- the handlers, by what the children have ---------------------------------------------------

    @property
    def pre_handler(self) -> Any:  # type: ignore[override]
        """Calls the children's, until one has set where to go on."""
        return self._pre_handler

    @property
    def post_handler(self) -> Any:  # type: ignore[override]
        """Calls the children's; ``None`` if no child has one that has not gone."""
        for p in self.children:
            if p.post_handler is not None and not _and(p.flags, _GONE):
                return self._post_handler
        return None

    @property
    def fault_handler(self) -> Any:  # type: ignore[override]
        """Calls the running child's; outside of a handler all, until one has handled the fault."""
        if any(p.fault_handler is not None for p in self.children):
            return self._fault_handler
        return None

    def _pre_handler(self, _head: Kprobe, regs: Any) -> int:
        ctl = self._ctlblk.this()
        for p in self.children:
            handler = p.pre_handler
            if handler is not None and not _and(p.flags, DISABLED_OR_GONE):
                ctl.kprobe_instance = p
                try:
                    answer = handler(p, regs)
                    if answer and is_true(answer, "pre_handler", p):
                        return 1
                except HandlerAbandoned:
                    pass
                finally:
                    ctl.kprobe_instance = None
        return 0

    def opt_pre_handler(self, _head: Kprobe, regs: Any) -> None:
        """Calls the children's ``pre_handler``; through a detour nobody can go elsewhere."""
        ctl = self._ctlblk.this()
        for p in self.children:
            handler = p.pre_handler
            if handler is not None and not _and(p.flags, DISABLED_OR_GONE):
                ctl.kprobe_instance = p
                try:
                    handler(p, regs)
                except HandlerAbandoned:
                    pass
                finally:
                    ctl.kprobe_instance = None

    def _post_handler(self, _head: Kprobe, regs: Any, flags: int) -> None:
        ctl = self._ctlblk.this()
        for p in self.children:
            handler = p.post_handler
            if handler is not None and not _and(p.flags, DISABLED_OR_GONE):
                ctl.kprobe_instance = p
                try:
                    handler(p, regs, flags)
                except HandlerAbandoned:
                    pass
                finally:
                    ctl.kprobe_instance = None

    def _fault_handler(self, _head: Kprobe, regs: Any, trapnr: int) -> int:
        running = self._ctlblk.this().kprobe_instance
        children = () if self._strict else self.children
        for p in children if running is None else (running,):
            handler = p.fault_handler
            if handler is None or p.disabled:
                continue
            if is_true(handler(p, regs, trapnr), "fault_handler", p):
                return 1
        return 0
