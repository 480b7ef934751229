"""``Probing``: a kernel's probes of every kind, and who else hears of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kernel.arguments import as_int, as_list
from kprobesim.kprobes.batch import register_all
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.fail_function import Override
from kprobesim.kprobes.jprobe import Jprobe
from kprobesim.kprobes.kprobe import FaultHandler, Kprobe, PostHandler, PreHandler
from kprobesim.kprobes.kretprobe import Kretprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.machine.die_notifiers import DieNotifier
from kprobesim.machine.guest import Guest
from kprobesim.machine.text import TextPoke
from kprobesim.stack.stack_trace import StackTrace

__all__ = ["Probing", "as_kprobe", "as_kprobes"]


class Probing:
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that plant probes."""

    kprobes: KprobesManager
    machine: Guest
    image: KernelImage

    # -- probes ------------------------------------------------------------------------------------

    def register_kprobe(self, p: Kprobe) -> None:
        """Plant ``p``; raises :class:`KprobeError`, and then no byte of the guest has changed."""
        self.kprobes.register_kprobe(as_kprobe(p))

    def unregister_kprobe(self, p: Kprobe) -> None:
        """Take ``p`` out again and restore the instruction."""
        self.kprobes.unregister_kprobe(as_kprobe(p))

    def register_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Plant all or none."""
        self.kprobes.register_kprobes(as_kprobes(probes))

    def unregister_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes(as_kprobes(probes))

    def disable_kprobe(self, p: Kprobe) -> None:
        """No handler of ``p`` is called until it is enabled again."""
        self.kprobes.disable_kprobe(as_kprobe(p))

    def enable_kprobe(self, p: Kprobe) -> None:
        """Undo :meth:`disable_kprobe`; raises :class:`KprobeError` if its code is gone."""
        self.kprobes.enable_kprobe(as_kprobe(p))

    def check(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        kretprobe: bool = False,
        events: bool = False,
        slot_at: int | None = None,
        suggest: bool = True,
    ) -> Verdict:
        """What a kernel that has booted would answer to a probe there; nothing is planted.

        kretprobe : ask for a return probe
        events    : ask as a write into ``kprobe_events``, which refuses what ftrace cannot trace
        slot_at   : address of a slot, whose bytes the verdict then tells
        suggest   : tell names like an unknown one, which takes a while
        """
        p = Kprobe(symbol_name, addr=addr, offset=offset)
        return self.kprobes.rules.check(
            p, kretprobe=kretprobe, events=events, slot_at=slot_at, suggest=suggest
        )

    @contextmanager
    def probing(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        pre_handler: PreHandler | None = None,
        post_handler: PostHandler | None = None,
        fault_handler: FaultHandler | None = None,
    ) -> Iterator[Kprobe]:
        """A probe for the time of a ``with`` block."""
        p = Kprobe(
            symbol_name,
            addr=addr,
            offset=offset,
            pre_handler=pre_handler,
            post_handler=post_handler,
            fault_handler=fault_handler,
        )
        self.register_kprobe(p)
        try:
            yield p
        finally:
            if p in self.kprobes:
                self.unregister_kprobe(p)

    # -- return probes -----------------------------------------------------------------------------

    def register_kretprobe(self, rp: Kretprobe) -> None:
        """Follow the calls of a function from now on; raises :class:`KprobeError`."""
        self.kprobes.return_probes.register(_as_kretprobe(rp))

    def register_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """All or none."""
        self.kprobes.return_probes.register_all(_as_kretprobes(probes))

    def unregister_kretprobe(self, rp: Kretprobe) -> None:
        """No handler of ``rp`` runs from now on, also for calls that have not returned yet."""
        self.kprobes.return_probes.unregister_all([_as_kretprobe(rp)])

    def unregister_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.return_probes.unregister_all(_as_kretprobes(probes))

    def disable_kretprobe(self, rp: Kretprobe) -> None:
        """Follow no further calls; those that are being followed still run the handler."""
        self.kprobes.disable_kprobe(_as_kretprobe(rp).kp)

    def enable_kretprobe(self, rp: Kretprobe) -> None:
        """Undo :meth:`disable_kretprobe`."""
        self.kprobes.enable_kprobe(_as_kretprobe(rp).kp)

    # -- jprobes -----------------------------------------------------------------------------------

    def register_jprobe(self, jp: Jprobe) -> None:
        """Call ``jp.entry`` with a function's arguments; raises :class:`KprobeError`."""
        self.kprobes.register_jprobe(_as_jprobe(jp))

    def unregister_jprobe(self, jp: Jprobe) -> None:
        """Take ``jp`` out."""
        self.kprobes.unregister_kprobe(_as_jprobe(jp).kp)

    def register_jprobes(self, probes: Sequence[Jprobe]) -> None:
        """All or none."""
        register_all(_as_jprobes(probes), self.register_jprobe, self.unregister_jprobes)

    def unregister_jprobes(self, probes: Sequence[Jprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes([jp.kp for jp in _as_jprobes(probes)])

    def disable_jprobe(self, jp: Jprobe) -> None:
        """Do not call ``jp.entry`` until it is enabled again."""
        self.kprobes.disable_kprobe(_as_jprobe(jp).kp)

    def enable_jprobe(self, jp: Jprobe) -> None:
        """Undo :meth:`disable_jprobe`."""
        self.kprobes.enable_kprobe(_as_jprobe(jp).kp)

    # -- making functions fail ---------------------------------------------------------------------

    def override_return(
        self, symbol: int | str | Symbol, value: int = 0, *, check: bool = False
    ) -> Override:
        """Let the function ``symbol`` return ``value`` at once, instead of doing anything.

        check : as debugfs' ``fail_function`` does, only for functions marked ALLOW_ERROR_INJECTION
                (else ERANGE), once each (EBUSY), and with values that they may fail with (EINVAL);
                0 stands for -EINVAL or true where 0 would be no failure

        Returns an object with ``remove()`` that is a context manager, too:

        >>> with k.override_return("kmem_cache_alloc", 0):
        ...     k.call("getname_kernel", "/etc/passwd", signed=True)
        -12

        Raises :class:`KprobeError`.
        """
        where = symbol.address if isinstance(symbol, Symbol) else symbol
        if not isinstance(where, (int, str)):
            raise UsageError(f"{symbol!r} is no function: give its symbol or its address")
        if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
            raise UsageError(f"value {value!r} is no integer of 64 bits")
        return self.kprobes.fault_injection.override(where, value, check=check)

    def override_function_with_return(self, value: int = 0) -> int:
        """In a pre_handler at a function's entry: let it return ``value`` at once.

        Returns 1, which the handler must return:
        ``pre_handler=lambda p, regs: k.override_function_with_return(-5)``.
        """
        self.machine.return_to_caller(value)
        return 1

    # -- looking on --------------------------------------------------------------------------------

    def dump_stack(self) -> str:
        """The call trace from where the guest stands, as the kernel prints it; in a handler, too.

        The probed function comes first. Callers are found by what the kernel was built with: ORC,
        or frame pointers. Return addresses that a return probe has replaced are shown as they were.
        """
        ctl, regs, trapped_at = self.kprobes.ctlblk[0], self.machine.regs, None
        p = ctl.current_kprobe
        if p is not None and ctl.kprobe_status == KprobeStatus.KPROBE_HIT_ACTIVE:
            trapped_at = p.addr
        if trapped_at is None or regs.ip not in (trapped_at, trapped_at + 1):
            trapped_at = None
        return StackTrace(self.machine, self.image).dump(regs, trapped_at)

    def on_text_poke(
        self, callback: Callable[[int, bytes, bytes, str], object]
    ) -> Callable[[], None]:
        """Call ``callback(address, old, new, what)`` whenever guest code is written by us.

        ``what`` says why: "kprobe arm", "kprobe slot", "kprobe disarm" ... (On a booted kernel
        nothing is: its probes are hooks.) Returns a function that ends it.
        """
        if not callable(callback):
            raise UsageError(f"{callback!r} cannot be called: give a function")
        listeners = self.machine.text.listeners

        def listener(poke: TextPoke) -> None:
            callback(poke.address, poke.old, poke.new, poke.who)

        listeners.append(listener)

        def end() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return end

    def register_die_notifier(self, callback: DieNotifier, *, priority: int = 0) -> None:
        """Ask ``callback(event, regs, trap)`` before a trap that nobody claims ends the run.

        Probes come first, then the kernel's exception table, then those of higher priority.
        ``event`` is a :class:`DieEvent`. ``Notify.NOTIFY_STOP`` as the answer lets the guest go on
        at ``regs.ip``, which for INT3 is the instruction behind it. A booted kernel asks its own
        notifiers, in its own time; yours come before those.
        """
        if not callable(callback):
            raise UsageError(f"{callback!r} cannot be called: give a function")
        self.machine.die_notifiers.register(callback, as_int(priority, "priority"))
        self._watch_die_chain()

    def _watch_die_chain(self) -> None:
        """A booted guest handles its traps itself: see that it asks us, too."""

    def unregister_die_notifier(self, callback: DieNotifier) -> None:
        """Ask ``callback`` no longer; raises :class:`UsageError` if it was not asked."""
        if not self.machine.die_notifiers.unregister(callback):
            raise UsageError(f"{callback!r} is no registered die notifier")


def as_kprobe(p: object) -> Kprobe:
    """``p``, which must be a ``Kprobe``; raises :class:`UsageError`."""
    if not isinstance(p, Kprobe):
        raise UsageError(f"{p!r} is of type {type(p).__name__}: give a Kprobe")
    return p


def as_kprobes(probes: Sequence[Kprobe]) -> list[Kprobe]:
    """``probes`` as a list; raises :class:`UsageError` if something else is among them."""
    return [as_kprobe(p) for p in as_list(probes, "a list of Kprobe")]


def _as_jprobe(jp: object) -> Jprobe:
    if not isinstance(jp, Jprobe):
        raise UsageError(f"{jp!r} is of type {type(jp).__name__}: give a Jprobe")
    return jp


def _as_kretprobe(rp: object) -> Kretprobe:
    if not isinstance(rp, Kretprobe):
        raise UsageError(f"{rp!r} is of type {type(rp).__name__}: give a Kretprobe")
    return rp


def _as_jprobes(probes: Sequence[Jprobe]) -> list[Jprobe]:
    return [_as_jprobe(jp) for jp in as_list(probes, "a list of Jprobe")]


def _as_kretprobes(probes: Sequence[Kretprobe]) -> list[Kretprobe]:
    return [_as_kretprobe(rp) for rp in as_list(probes, "a list of Kretprobe")]
