"""Catching returns: what a return probe does at a function's entry, and when it has returned.

kernel/trace/rethook.c and pre_handler_kretprobe() of kernel/kprobes.c (6.1). A call is known by
where its stack pointer is after the return, which no two calls share, of whatever task: so a frame
that is never returned to confuses nobody, where the kernel would take its return address for the
next one's.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import HitKind
from kprobesim.kprobes.hit.common import HitSteps, references_of_nobody
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe, PreHandler, is_true
from kprobesim.kprobes.kretprobe import KretprobeInstance, Rethook
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.machine.system import System

__all__ = [
    "RET_IMMEDIATE",
    "STACK",
    "Follower",
    "Returns",
    "TrampolineReturns",
]

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)
RET_IMMEDIATE = 0x200
"""Bytes of arguments that a callee may take off the stack (x86-64 ``ret imm16``)."""
STACK = 16 << 10
"""THREAD_SIZE is a multiple of it."""


class Follower(Protocol):
    """Somebody else who follows calls: those of a call that is aborted never return."""

    def save(self) -> int:
        """How many calls were followed so far, for :meth:`restore`."""

    def restore(self, count: int) -> None:
        """The newer ones will never return."""


class Returns(ABC):
    """``pending`` has the newest instance of each call that has not returned, oldest call first."""

    def __init__(self, machine: System, paths: PerCpu[HitPath]) -> None:
        self._machine = machine
        self._paths = paths
        abi = machine.isa.abi
        self._sp, self._frame = abi.number(abi.stack_pointer), abi.number(abi.frame_pointer)
        self._link = None if abi.link_register is None else abi.number(abi.link_register)
        self.pending: dict[int, KretprobeInstance] = {}
        self.followers: list[Follower] = []
        self.trampoline = -1
        """What stands in the place of a return address; -1: nothing does."""

    @property
    def cpus(self) -> int:
        """How many CPUs there are."""
        return len(self._paths)

    @abstractmethod
    def start(self) -> None:
        """A return probe is being registered, and none was."""

    @abstractmethod
    def stop(self) -> None:
        """The last one has been unregistered."""

    @abstractmethod
    def attach(self, ri: KretprobeInstance, key: int) -> None:
        """Catch the return of a call that nobody else follows yet."""

    @abstractmethod
    def outer(self, key: int, address: int) -> KretprobeInstance | None:
        """The newest instance of the call that is being made, if it is followed already.

        That is so when another probe has been here, or behind a tail call. ``address`` is what is
        in the place of its return address.
        """

    def pre_handler(self, rethook: Rethook) -> PreHandler:
        """``pre_handler_kretprobe()``, as a closure: it runs at every call of the function."""
        machine, pending, read_u64 = self._machine, self.pending, self._machine.memory.read_u64
        stack_pointer, frame, link = self._sp, self._frame, self._link
        trampoline = self.trampoline
        free, rp, attach, outer_of = rethook.free, rethook.rp, self.attach, self.outer
        listeners = self._paths[0].steps.listeners
        paths, words = self._paths, machine.engine.window
        assert rp is not None

        def pre_handler_kretprobe(_p: Kprobe, regs: Any) -> int:
            if free:
                ri = free.pop()
            elif rethook.left:
                rethook.left -= 1
                ri = KretprobeInstance(rethook)
            else:
                rp.nmissed += 1
                if listeners:
                    paths.this().steps.tell(HitKind.MISS, rp.kp, _ACTIVE)
                return 0
            key = words[stack_pointer]
            if link is None:  # the call has pushed it
                ri.frame, address = key, read_u64(key)
                key += 8
            else:
                ri.frame, address = words[frame], words[link]
            outer = None
            if address == trampoline or key in pending:
                outer = outer_of(key, address)
                if outer is not None:
                    address = outer.ret_addr
            ri.ret_addr = address
            if rp.entry_handler is not None:
                try:
                    unwanted = is_true(rp.entry_handler(ri, regs), "entry_handler", rp)
                except BaseException:
                    free.append(ri)
                    raise
                if unwanted:
                    free.append(ri)
                    return 0
            if outer is None:
                attach(ri, key)
            ri.outer = outer
            pending[key] = ri
            return 0

        return pre_handler_kretprobe

    def find_ret_addr(self, address: int, frame: int) -> int:
        """The real return address, if ``address`` is what we have put in its place.

        ``frame`` is where it was found (x86-64), or the frame pointer beside it (ARM64).
        """
        return address

    # -- a call that is aborted --------------------------------------------------------------------

    def save(self) -> tuple[int, list[int]]:
        """How many calls are being followed, for :meth:`restore`."""
        return len(self.pending), [each.save() for each in self.followers]

    def restore(self, counts: tuple[int, list[int]]) -> None:
        """The newer calls will never return."""
        count, others = counts
        for each, before in zip(self.followers, others, strict=False):
            each.restore(before)
        while len(self.pending) > count:
            self.recycle(self.pending.popitem()[1])

    @staticmethod
    def recycle(ri: KretprobeInstance | None) -> None:
        """Give back all instances of a call."""
        while ri is not None:
            if ri.rethook.rp is not None:
                ri.rethook.free.append(ri)
            ri.outer, ri = None, ri.outer

    def _newest_on(self, stack_pointer: int) -> tuple[int, KretprobeInstance]:
        """The newest call that is followed on a task's stack, of which each CPU runs another one.

        Of all, if none is there.
        """
        start = stack_pointer - stack_pointer % STACK
        newest = reversed(self.pending.items())
        here = (pair for pair in newest if start <= pair[0] <= start + STACK)
        return next(here, None) or next(reversed(self.pending.items()))

    def _forget_deeper(self, key: int) -> None:
        """What was called from a call that has returned, and is still pending, never returns."""
        bottom = key - key % STACK
        for deeper in [other for other in self.pending if bottom < other < key]:
            self.recycle(self.pending.pop(deeper))

    # -- the return --------------------------------------------------------------------------------

    def _make_returned(self, steps: HitSteps) -> Callable[[int, KretprobeInstance], None]:
        """``returned(key, newest)``, as a closure: it runs at every return."""
        vcpu = steps.vcpu
        words, pc = vcpu.engine.window, vcpu.engine.layout.pc
        ctl, pending = steps.ctlblk, self.pending
        listeners, tell = steps.listeners, steps.tell
        references, unshared = sys.getrefcount, references_of_nobody(vcpu)

        def returned(key: int, newest: KretprobeInstance) -> None:
            """The call has returned: run the handlers, the last hooked first.

            Where they go on is where the call would have gone, whatever they do.
            """
            outer, status, handling = ctl.current_kprobe, ctl.kprobe_status, vcpu.in_handler
            words[pc] = address = newest.ret_addr
            ri: KretprobeInstance | None = newest
            try:
                while ri is not None:
                    rp = ri.rethook.rp
                    if rp is not None:
                        # A probe that is hit in the handler is a missed one.
                        ctl.current_kprobe, ctl.kprobe_status = rp.kp, _ACTIVE
                        if listeners:
                            tell(HitKind.RETURN, rp.kp, _ACTIVE)
                        handler: Any = rp.handler
                        if handler is not None:  # as call_handler() does
                            regs = vcpu.regs
                            vcpu.in_handler = True
                            try:  # noqa: SIM105 (suppress() would take a third of a microsecond)
                                handler(ri, regs)
                            except HandlerAbandoned:
                                pass
                            vcpu.in_handler = False
                            if references(regs) > unshared:
                                vcpu.replace_regs(regs)
                            del regs
                    ri = ri.outer
            finally:
                vcpu.in_handler = handling
                ctl.current_kprobe, ctl.kprobe_status = outer, status
                words[pc] = address
                if len(pending) > 1 and next(reversed(pending)) != key:
                    self._forget_deeper(key)
                pending.pop(key, None)
                ri = newest
                while ri is not None:
                    rethook = ri.rethook
                    if rethook.rp is not None:
                        rethook.free.append(ri)
                    ri.outer, ri = None, ri.outer

        return returned


class TrampolineReturns(Returns):
    """The kernel's way: the call returns to a breakpoint of ours, at :attr:`trampoline`.

    ``new_trampoline()`` makes the page with that breakpoint.
    """

    def __init__(
        self, machine: System, paths: PerCpu[HitPath], new_trampoline: Callable[[], int]
    ) -> None:
        super().__init__(machine, paths)
        self._new_trampoline = new_trampoline
        self._write_u64 = machine.memory.write_u64

    def start(self) -> None:
        """Make the trampoline."""
        if self.trampoline < 0:
            self.trampoline = self._new_trampoline()
            for path in self._paths:
                self._take_trap(path)
            self._paths.on_new(self._take_trap)

    def _take_trap(self, path: HitPath) -> None:
        path.breakpoints.places[self.trampoline] = self._make_trap(path.steps)

    def stop(self) -> None:
        """The trampoline stays: calls that are pending come there."""

    def attach(self, ri: KretprobeInstance, key: int) -> None:
        """Put the trampoline in the place of the return address."""
        if self._link is None:
            self._write_u64(ri.frame, self.trampoline)
        else:
            self._machine.vcpu.words[self._link] = self.trampoline

    def outer(self, key: int, address: int) -> KretprobeInstance | None:
        """Who has put the trampoline there; whom it does not belong to was never returned to."""
        pending = self.pending
        if address != self.trampoline:
            self.recycle(pending.pop(key))
        elif key not in pending and pending:  # before a tail call that moved its return address
            pending[key] = pending.pop(self._newest_on(key)[0])
        return pending.get(key)

    def _make_trap(self, steps: HitSteps) -> Callable[[], bool]:
        words, stack_pointer, pending = steps.vcpu.engine.window, self._sp, self.pending
        link, write_u64, newest_on = self._link, self._write_u64, self._newest_on
        returned = self._make_returned(steps)

        def trap() -> bool:
            """Whether a call that is followed has come to the trampoline."""
            if not pending:
                return False
            key = words[stack_pointer]
            newest = pending.get(key)
            if newest is None:  # arguments were taken off the stack, or a return address moved
                key, newest = newest_on(key)
            if link is None:
                write_u64(newest.frame, newest.ret_addr)
            returned(key, newest)
            return True

        return trap

    def find_ret_addr(self, address: int, frame: int) -> int:
        """``kretprobe_find_ret_addr()``."""
        if address == self.trampoline:
            for ri in reversed(self.pending.values()):
                if ri.frame == frame:
                    return ri.ret_addr
        return address
