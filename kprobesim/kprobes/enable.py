"""Switching probes off and on: one, all, or for ever when their code goes away.

disable_kprobe(), enable_kprobe(), arm_all_kprobes(), disarm_all_kprobes() and kill_kprobe() of
kernel/kprobes.c (6.1).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from kprobesim.errors import KprobeError, Reason
from kprobesim.kprobes.aggregate import AggrKprobe
from kprobesim.kprobes.arming.protocol import Arming
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.table import KprobeTable, members

__all__ = ["EnabledProbes"]


class ArmingOfAll(Arming, Protocol):
    """The way to arm all the probes of a guest."""

    def wrap(self, p: Kprobe) -> Kprobe:
        """The head that the kernel would have put before ``p``; else ``p``."""

    def members_changed(self, head: Kprobe) -> None:
        """Another one of the probes behind ``head`` is to be called, or one less."""


class EnabledProbes:
    """Which probes are enabled, and so armed.

    ``all_disarmed`` is the kernel's ``kprobes_all_disarmed``. ``strict``: while all are disarmed,
    enabling is forgotten as the kernel forgets it; else it is remembered, and the probe is armed
    with the others.
    """

    def __init__(
        self,
        table: KprobeTable,
        arming: ArmingOfAll,
        *,
        strict: bool = False,
    ) -> None:
        self._table = table
        self._arming = arming
        self._strict = strict
        self.all_disarmed = False

    def disable_kprobe(self, p: Kprobe) -> None:
        """No handler of ``p`` is called until it is enabled. Raises :class:`KprobeError`."""
        head = self._head(p)
        if p.disabled:
            return
        p.flags |= KprobeFlag.DISABLED
        if isinstance(head, AggrKprobe):
            if not head.all_disabled or head.disabled:
                self._arming.members_changed(head)
                return
            head.flags |= KprobeFlag.DISABLED
        self._disarm(head)

    def enable_kprobe(self, p: Kprobe) -> None:
        """Undo :meth:`disable_kprobe`. Raises :class:`KprobeError` (EINVAL) for a gone probe."""
        head = self._head(p)
        if p.flags & KprobeFlag.GONE:
            raise KprobeError(
                errno.EINVAL,
                Reason.GONE,
                "the probe's code is gone; unregister it",
                symbol=p.symbol_name,
                address=p.addr,
            )
        forgets = self.all_disarmed and self._strict
        if forgets and head.disabled:
            head = self._arming.wrap(head)
        if head is not p:
            p.flags &= ~KprobeFlag.DISABLED
        if not head.disabled or forgets:
            self._arming.members_changed(head)
            return
        p.flags &= ~KprobeFlag.DISABLED
        self.arm(head)

    def arm(self, head: Kprobe) -> None:
        """``head`` is enabled now; it gets its breakpoint, unless all are disarmed."""
        if head.disabled:  # (flags take a microsecond to change)
            head.flags &= ~KprobeFlag.DISABLED
        if not self.all_disarmed:
            self._arming.arm(head)

    def arm_again(self, head: Kprobe) -> None:
        """Who is behind ``head`` has changed, and it may be armed in another way now."""
        if not head.disabled and not self.all_disarmed:
            self._arming.arm(head)

    def _disarm(self, head: Kprobe) -> None:
        if not self.all_disarmed:
            self._arming.disarm(head)

    def _head(self, p: Kprobe) -> Kprobe:
        head = self._table.head(p)
        if head is None:
            raise KprobeError(
                errno.EINVAL,
                Reason.NOT_REGISTERED,
                "this probe is not registered",
                symbol=p.symbol_name,
                address=p.addr,
            )
        return head

    # -- all of them -------------------------------------------------------------------------------

    def disarm_all_kprobes(self) -> None:
        """Take all breakpoints out; who is enabled stays known."""
        if not self.all_disarmed:
            for head in self._table.heads.values():
                if not head.disabled:
                    self._arming.disarm(head)
            self.all_disarmed = True

    def arm_all_kprobes(self) -> None:
        """Put the breakpoints of all enabled probes back."""
        if self.all_disarmed:
            self.all_disarmed = False
            self.all_again()

    def all_again(self) -> None:
        """Arm all enabled probes, in the way in which it may be done now."""
        for head in list(self._table.heads.values()):
            self.arm_again(head)

    def kill_range(self, start: int, end: int) -> None:
        """The code in [``start``, ``end``) goes away: probes there are GONE, and never hit again.

        What is in memory there is left as it is (``kill_kprobe()``).
        """
        for address, head in self._table.heads.items():
            if start <= address < end and not head.flags & KprobeFlag.GONE:
                for p in {id(p): p for p in (head, *members(head))}.values():
                    p.flags |= KprobeFlag.GONE
                self._arming.abandon(head)

    def revive_range(self, start: int, end: int, prepare: Callable[[Kprobe], None]) -> None:
        """The code in [``start``, ``end``) is there again: undo :meth:`kill_range`.

        ``prepare`` analyses the instruction of a head.
        """
        for address, head in list(self._table.heads.items()):
            if start <= address < end and head.flags & KprobeFlag.GONE:
                prepare(head)
                for p in {id(p): p for p in (head, *members(head))}.values():
                    p.flags &= ~KprobeFlag.GONE
                self.arm_again(head)
