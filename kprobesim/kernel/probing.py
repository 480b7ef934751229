"""``Probing``: a kernel's probes of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kernel.arguments import as_list
from kprobesim.kernel.verdicts import Verdicts
from kprobesim.kprobes.arming.armings import ProbeArming
from kprobesim.kprobes.batch import register_all
from kprobesim.kprobes.fail_function import Override
from kprobesim.kprobes.jprobe import Jprobe
from kprobesim.kprobes.kprobe import FaultHandler, Kprobe, PostHandler, PreHandler
from kprobesim.kprobes.kretprobe import Kretprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.machine.registration import Registration
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn

__all__ = ["Probing", "as_kprobe", "as_kprobes"]


class Probing(Verdicts):
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that plant probes."""

    kprobes: KprobesManager
    machine: System
    image: KernelImage

    # -- probes ------------------------------------------------------------------------------------

    @in_turn
    def register_kprobe(self, p: Kprobe, *, arming: ProbeArming = "auto") -> Registration:
        """Plant ``p``.

        Args:
            p: The probe.
            arming: How the CPU is stopped. "auto": as this kernel's probes are, by hooks where it
                has booted, else by breakpoints that the optimizer may turn into jumps.
                "breakpoint": by one that stays one; in a booted kernel its slot is in a page that
                the guest's own ``alloc_insn_page()`` gives, for which the guest runs on, and no
                state can be kept while it is there. "hook": without a change of the guest.
                "jump": at once; only where the kernel would make one. All probes at one address
                are armed alike.

        Returns:
            A handle that takes it out again, as :meth:`unregister_kprobe` does.

        Raises:
            KprobeError: It is refused, and no byte of the guest has changed.
            UsageError: It cannot be armed so: no jump fits there, a booted kernel has no jumps or
                no page for a slot.
        """
        self.kprobes.register_kprobe(as_kprobe(p), arming)
        return Registration(p, lambda: self._take_out([p]))

    @in_turn
    def unregister_kprobe(self, p: Kprobe) -> None:
        """Take ``p`` out again and restore the instruction."""
        self.kprobes.unregister_kprobe(as_kprobe(p))

    @in_turn
    def register_kprobes(
        self, probes: Sequence[Kprobe], *, arming: ProbeArming = "auto"
    ) -> Registration:
        """Plant all or none; raises :class:`KprobeError`."""
        planted = as_kprobes(probes)
        self.kprobes.register_kprobes(planted, arming)
        return Registration(planted, lambda: self._take_out(planted))

    @in_turn
    def _take_out(self, probes: Sequence[Kprobe]) -> None:
        """Unregister those of ``probes`` that are registered."""
        self.kprobes.unregister_kprobes([p for p in probes if p in self.kprobes])

    @in_turn
    def unregister_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes(as_kprobes(probes))

    @in_turn
    def disable_kprobe(self, p: Kprobe) -> None:
        """No handler of ``p`` is called until it is enabled again."""
        self.kprobes.disable_kprobe(as_kprobe(p))

    @in_turn
    def enable_kprobe(self, p: Kprobe) -> None:
        """Undo :meth:`disable_kprobe`; raises :class:`KprobeError` if its code is gone."""
        self.kprobes.enable_kprobe(as_kprobe(p))

    def _rules(self) -> Rules:
        return self.kprobes.rules

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
        arming: ProbeArming = "auto",
    ) -> Iterator[Kprobe]:
        """A probe for the time of a ``with`` block; ``arming`` as for :meth:`register_kprobe`."""
        p = Kprobe(
            symbol_name,
            addr=addr,
            offset=offset,
            pre_handler=pre_handler,
            post_handler=post_handler,
            fault_handler=fault_handler,
        )
        with self.register_kprobe(p, arming=arming):
            yield p

    # -- return probes -----------------------------------------------------------------------------

    @in_turn
    def register_kretprobe(self, rp: Kretprobe, *, arming: ProbeArming = "auto") -> Registration:
        """Follow the calls of a function from now on; raises :class:`KprobeError`.

        >>> with k.register_kretprobe(rp):
        ...     k.call("strlen", "abc")
        """
        self.kprobes.return_probes.register(_as_kretprobe(rp), arming)
        return Registration(rp, lambda: self._take_out_returns([rp]))

    @in_turn
    def register_kretprobes(
        self, probes: Sequence[Kretprobe], *, arming: ProbeArming = "auto"
    ) -> Registration:
        """All or none; raises :class:`KprobeError`."""
        planted = _as_kretprobes(probes)
        self.kprobes.return_probes.register_all(planted, arming)
        return Registration(planted, lambda: self._take_out_returns(planted))

    def _take_out_returns(self, probes: Sequence[Kretprobe]) -> None:
        registered = [rp for rp in probes if rp.kp in self.kprobes]
        self.kprobes.return_probes.unregister_all(registered)

    @in_turn
    def unregister_kretprobe(self, rp: Kretprobe) -> None:
        """No handler of ``rp`` runs from now on, also for calls that have not returned yet."""
        self.kprobes.return_probes.unregister_all([_as_kretprobe(rp)])

    @in_turn
    def unregister_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.return_probes.unregister_all(_as_kretprobes(probes))

    @in_turn
    def disable_kretprobe(self, rp: Kretprobe) -> None:
        """Follow no further calls; those that are being followed still run the handler."""
        self.kprobes.disable_kprobe(_as_kretprobe(rp).kp)

    @in_turn
    def enable_kretprobe(self, rp: Kretprobe) -> None:
        """Undo :meth:`disable_kretprobe`."""
        self.kprobes.enable_kprobe(_as_kretprobe(rp).kp)

    # -- jprobes -----------------------------------------------------------------------------------

    @in_turn
    def register_jprobe(self, jp: Jprobe, *, arming: ProbeArming = "auto") -> Registration:
        """Call ``jp.entry`` with a function's arguments; raises :class:`KprobeError`."""
        self.kprobes.register_jprobe(_as_jprobe(jp), arming)
        return Registration(jp, lambda: self._take_out([jp.kp]))

    @in_turn
    def unregister_jprobe(self, jp: Jprobe) -> None:
        """Take ``jp`` out."""
        self.kprobes.unregister_kprobe(_as_jprobe(jp).kp)

    @in_turn
    def register_jprobes(
        self, probes: Sequence[Jprobe], *, arming: ProbeArming = "auto"
    ) -> Registration:
        """All or none; raises :class:`KprobeError`."""
        planted = _as_jprobes(probes)
        register_all(
            planted, lambda jp: self.kprobes.register_jprobe(jp, arming), self.unregister_jprobes
        )
        return Registration(planted, lambda: self._take_out([jp.kp for jp in planted]))

    @in_turn
    def unregister_jprobes(self, probes: Sequence[Jprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes([jp.kp for jp in _as_jprobes(probes)])

    @in_turn
    def disable_jprobe(self, jp: Jprobe) -> None:
        """Do not call ``jp.entry`` until it is enabled again."""
        self.kprobes.disable_kprobe(_as_jprobe(jp).kp)

    @in_turn
    def enable_jprobe(self, jp: Jprobe) -> None:
        """Undo :meth:`disable_jprobe`."""
        self.kprobes.enable_kprobe(_as_jprobe(jp).kp)

    # -- making functions fail ---------------------------------------------------------------------

    @in_turn
    def override_return(
        self, symbol: int | str | Symbol, value: int = 0, *, check: bool = False
    ) -> Override:
        """Let the function ``symbol`` return ``value`` at once, instead of doing anything.

        Args:
            symbol: The function, by name or address.
            value: What it returns.
            check: As debugfs' ``fail_function`` does, only for functions marked
                ALLOW_ERROR_INJECTION (else ERANGE), once each (EBUSY), and with values that they
                may fail with (EINVAL); 0 stands for -EINVAL or true where 0 would be no failure.

        Returns:
            A handle that ends it, and counts the calls.

        Raises:
            KprobeError: It cannot be probed, or ``check`` forbids it.

        >>> with k.override_return("kmem_cache_alloc", 0):
        ...     k.call("getname_kernel", "/etc/passwd", signed=True)
        -12
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
        self.machine.vcpu.return_to_caller(value)
        return 1


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
