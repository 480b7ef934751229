"""``Watching``: who hears of what a kernel and its probes do, and the call trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.kernel.arguments import as_int
from kprobesim.kernel.covering import Covering
from kprobesim.kernel.explaining import Explaining
from kprobesim.machine.registration import Registration
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn

if TYPE_CHECKING:  # what is not looked at need not be imported
    from kprobesim.kprobes.events import HitListener
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.machine.die_notifiers import DieNotifier
    from kprobesim.machine.text import TextPoke
    from kprobesim.stack.stack_trace import StackTrace

__all__ = ["Watching"]

_C = TypeVar("_C", bound=Callable[..., object])


class Watching(Covering, Explaining):
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that only look on."""

    kprobes: KprobesManager
    machine: System
    image: KernelImage

    # -- the stack ---------------------------------------------------------------------------------

    def stack_trace(self) -> StackTrace:
        """The functions that the guest stands in, innermost first; in a handler, too.

        The probed function comes first. Callers are found by what the kernel was built with: ORC,
        or frame pointers. Return addresses that a return probe has replaced are shown as they were.
        """
        from kprobesim.kprobes.ctlblk import KprobeStatus
        from kprobesim.stack.walk import StackWalker

        ctl, regs, trapped_at = self.kprobes.ctlblk.this(), self.machine.regs, None
        p = ctl.current_kprobe
        if p is not None and ctl.kprobe_status == KprobeStatus.KPROBE_HIT_ACTIVE:
            trapped_at = p.addr
        if trapped_at is None or regs.ip not in (trapped_at, trapped_at + 1):
            trapped_at = None
        return StackWalker(self.machine, self.image).trace(regs, trapped_at)

    def dump_stack(self) -> str:
        """:meth:`stack_trace` as the kernel prints it."""
        return str(self.stack_trace())

    # -- being told --------------------------------------------------------------------------------

    @in_turn
    def on_hit(self, callback: HitListener) -> Registration:
        """Call ``callback(hit)`` for everything that happens to any probe, also to later ones.

        It gets a :class:`Hit`: hits, how the instruction was done, misses, returns. It stands where
        a handler does: registers and memory may be read and written, and what it raises ends the
        run. With several callbacks the first registered comes first.
        """
        _check_callable(callback)
        callbacks = self.kprobes.listeners.callbacks
        callbacks.append(callback)
        self.kprobes.listeners_changed()
        return Registration(callback, lambda: self._listen_no_more(callback))

    @in_turn
    def _listen_no_more(self, callback: HitListener) -> None:
        self._remove(self.kprobes.listeners.callbacks, callback)
        self.kprobes.listeners_changed()

    @in_turn
    def on_text_poke(self, callback: Callable[[int, bytes, bytes, str], object]) -> Registration:
        """Call ``callback(address, old, new, what)`` whenever guest code is written by us.

        ``what`` says why: "kprobe arm", "kprobe slot", "kprobe disarm" ... (Where probes are hooks,
        nothing is written for them.)
        """
        _check_callable(callback)
        listeners = self.machine.text.listeners

        def listener(poke: TextPoke) -> None:
            callback(poke.address, poke.old, poke.new, poke.who)

        listeners.append(listener)
        return Registration(callback, lambda: self._remove(listeners, listener))

    @in_turn
    def register_die_notifier(self, callback: DieNotifier, *, priority: int = 0) -> Registration:
        """Ask ``callback(event, regs, trap)`` before a trap that nobody claims ends the run.

        Probes come first, then the kernel's exception table, then those of higher priority.
        ``event`` is a :class:`DieEvent`. ``Notify.NOTIFY_STOP`` as the answer lets the guest go on
        at ``regs.ip``, which for INT3 is the instruction behind it. A booted kernel asks its own
        notifiers, in its own time; yours come before those.
        """
        _check_callable(callback)
        notifiers = self.machine.die_notifiers
        notifiers.register(callback, as_int(priority, "priority"))
        self._watch_die_chain()
        return Registration(callback, lambda: self._no_notifier(callback))

    @in_turn
    def _no_notifier(self, callback: DieNotifier) -> None:
        self.machine.die_notifiers.unregister(callback)

    @in_turn
    def _remove(self, callbacks: list[_C], callback: _C) -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    def _watch_die_chain(self) -> None:
        """A booted guest handles its traps itself: see that it asks us, too."""

    @in_turn
    def unregister_die_notifier(self, callback: DieNotifier) -> None:
        """Ask ``callback`` no longer; raises :class:`UsageError` if it was not asked."""
        if not self.machine.die_notifiers.unregister(callback):
            raise UsageError(f"{callback!r} is no registered die notifier")


def _check_callable(callback: object) -> None:
    if not callable(callback):
        raise UsageError(f"{callback!r} cannot be called: give a function")
