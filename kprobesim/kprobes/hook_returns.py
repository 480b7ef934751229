"""Catching returns by hooks, without a trace in the guest; the other way is in rethook.py."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.hit.common import HitSteps
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.kretprobe import KretprobeInstance
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.kprobes.rethook import RET_IMMEDIATE, STACK, Returns
from kprobesim.machine.code_watch import RETURNS, UnguardedArrival, Watch
from kprobesim.machine.system import System

__all__ = ["HookReturns"]

_MOST_SITES = 512  # hooked return addresses: each makes the translation of code slower


class HookReturns(Returns):
    """Without a trace: the place that the call returns to is hooked, and the stack left alone.

    What a task had called when it ended never returns: ``tasks()`` gives the addresses of
    do_task_dead(), where it ends, and of finish_task_switch(), which the next task comes to; it
    gives nothing where they are not known, and is asked when there is something to follow.
    """

    def __init__(
        self,
        machine: System,
        paths: PerCpu[HitPath],
        tasks: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        super().__init__(machine, paths)
        self._at_site = self._make_at_sites()
        paths.on_new(lambda _path: self._call_anew())
        self._tasks = tasks
        self._of_tasks: list[Watch] = []
        self._dead_stacks: dict[int, int] = {}  # by CPU, of the task that has ended there
        self._sites: dict[int, Watch] = {}

    def _make_at_sites(self) -> UnguardedArrival:
        return self._paths.call(lambda path: self._make_at_site(path.steps))

    def _call_anew(self) -> None:
        """There is one CPU more: let the hooks that there are call what hears of all."""
        self._at_site = self._make_at_sites()
        for site in self._sites.values():
            self._machine.code_watch.call_instead(site, self._at_site)

    def start(self) -> None:
        """Hear of tasks that end."""
        found, watch = self._tasks(), self._machine.code_watch.watch
        if found is not None:
            dead, switched = found
            self._of_tasks = [
                watch(dead, self._on_task_dead, RETURNS),
                watch(switched, self._on_task_switched, RETURNS),
            ]

    def stop(self) -> None:
        """Leave no hook behind. What is still pending has nobody to be told."""
        self.pending.clear()
        self._dead_stacks.clear()
        for watch in (*self._sites.values(), *self._of_tasks):
            self._machine.code_watch.unwatch(watch)
        self._sites.clear()
        self._of_tasks.clear()

    def attach(self, ri: KretprobeInstance, key: int) -> None:
        """Hook the place that the call returns to, and leave it hooked for the next one."""
        if ri.ret_addr not in self._sites:
            self._watch(ri.ret_addr)

    def outer(self, key: int, address: int) -> KretprobeInstance | None:
        """Who waits for the same return; else it was never returned to."""
        outer = self.pending[key]
        if outer.ret_addr == address:
            return outer
        self.recycle(self.pending.pop(key))
        return None

    def _watch(self, address: int) -> None:
        sites, code_watch = self._sites, self._machine.code_watch
        if len(sites) >= _MOST_SITES:
            awaited = {ri.ret_addr for ri in self.pending.values()}
            for site in [site for site in sites if site not in awaited]:
                code_watch.unwatch(sites.pop(site))
        sites[address] = code_watch.watch_unguarded(address, self._at_site, RETURNS)

    def _make_at_site(self, steps: HitSteps) -> UnguardedArrival:
        words, stack_pointer, pending = steps.vcpu.engine.window, self._sp, self.pending
        keep, returned = steps.vcpu.engine.hooks.keep, self._make_returned(steps)

        def at_site(_uc: object, address: int) -> bool:
            """Somebody comes to where a followed call returns to."""
            try:
                sp = words[stack_pointer]
                newest = pending.get(sp)
                if newest is not None and newest.ret_addr == address:
                    returned(sp, newest)
                    return False
                for key, ri in reversed(pending.items()):
                    if ri.ret_addr == address and 0 < sp - key <= RET_IMMEDIATE:
                        returned(key, ri)
                        return False
            except BaseException as error:
                keep(error)
                return True
            return False

        return at_site

    def _on_task_dead(self, _address: int) -> None:
        sp = self._machine.vcpu.words[self._sp]
        self._dead_stacks[self._machine.vcpu.number] = sp - sp % STACK

    def _on_task_switched(self, _address: int) -> None:
        """``kprobe_flush_task()``, for a task that the CPU has left for ever."""
        number = self._machine.vcpu.number
        start = self._dead_stacks.pop(number, 0)
        if start:
            for key in [key for key in self.pending if start < key <= start + STACK]:
                self.recycle(self.pending.pop(key))
