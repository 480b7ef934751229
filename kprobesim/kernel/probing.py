"""``Probing``: a kernel's probes of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kernel.arguments import as_list
from kprobesim.kernel.verdicts import Verdicts
from kprobesim.machine.registration import Registration
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn

if TYPE_CHECKING:  # what plants probes is imported when one is planted
    from kprobesim.kprobes.arming.armings import ProbeArming
    from kprobesim.kprobes.fail_function import Override
    from kprobesim.kprobes.jprobe import Jprobe
    from kprobesim.kprobes.kprobe import FaultHandler, Kprobe, PostHandler, PreHandler
    from kprobesim.kprobes.kretprobe import Kretprobe
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.rules.names import Names
    from kprobesim.kprobes.rules.rules import Rules

__all__ = ["Probing", "as_kprobe", "as_kprobes"]

_P = TypeVar("_P", "Kprobe", "Kretprobe", "Jprobe")


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
            p: The probe. Where its ``symbol_name`` is a pattern (``"vfs_*"``) or several names with
                commas between, a copy for each of :meth:`functions` is planted, all or none, which
                ``p.members`` has then; what else is done to ``p`` is done to these.
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
        self._plant([as_kprobe(p)], lambda ps: self.kprobes.register_kprobes(ps, arming), arming)
        return Registration(p, lambda: self._take_out([p]))

    @in_turn
    def unregister_kprobe(self, p: Kprobe) -> None:
        """Take ``p`` out again and restore the instruction."""
        self.kprobes.unregister_kprobes(self._let_go([as_kprobe(p)]))

    @in_turn
    def register_kprobes(
        self, probes: Sequence[Kprobe], *, arming: ProbeArming = "auto"
    ) -> Registration:
        """Plant all or none; raises :class:`KprobeError`."""
        asked = as_kprobes(probes)
        self._plant(asked, lambda ps: self.kprobes.register_kprobes(ps, arming), arming)
        return Registration(asked, lambda: self._take_out(asked))

    def _plant(
        self,
        probes: Sequence[_P],
        register: Callable[[Sequence[_P]], object],
        arming: ProbeArming,
        *,
        kretprobe: bool = False,
    ) -> None:
        """Let ``register`` plant all of them or none, and for a pattern one for each function."""
        from kprobesim.kprobes.members import with_members

        # (A booted guest runs on for the page of a breakpoint's slot.)
        once = arming in ("auto", "hook")
        with self.kprobes.rules.judging_once() if once else nullcontext():
            pairs = list(
                with_members(
                    probes,
                    lambda name, offset: self.functions(name, offset=offset, kretprobe=kretprobe),
                )
            )
            register([one for _, stand_ins in pairs for one in stand_ins])
        for probe, stand_ins in pairs:
            if stand_ins[0] is not probe:
                probe.members = stand_ins

    def _let_go(self, probes: Sequence[_P]) -> list[_P]:
        """Which are planted for ``probes``, which from now on have no members any more."""
        from kprobesim.kprobes.members import entry_of

        there = [p for p in _planted(probes) if entry_of(p) in self.kprobes or p in probes]
        for probe in probes:
            probe.members = ()
        return there

    @in_turn
    def _take_out(self, probes: Sequence[Kprobe]) -> None:
        """Unregister those of ``probes`` that are registered."""
        there = [p for p in self._let_go(probes) if p in self.kprobes]
        self.kprobes.unregister_kprobes(there)

    @in_turn
    def unregister_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes(self._let_go(as_kprobes(probes)))

    @in_turn
    def disable_kprobe(self, p: Kprobe) -> None:
        """No handler of ``p`` is called until it is enabled again."""
        for one in _planted([as_kprobe(p)]):
            self.kprobes.disable_kprobe(one)

    @in_turn
    def enable_kprobe(self, p: Kprobe) -> None:
        """Undo :meth:`disable_kprobe`; raises :class:`KprobeError` if its code is gone."""
        for one in _planted([as_kprobe(p)]):
            self.kprobes.enable_kprobe(one)

    def _rules(self) -> Rules:
        return self.kprobes.rules

    def _is_init_freed(self) -> bool:
        return self.kprobes.init_memory.freed

    @contextmanager
    def probing(
        self,
        symbol_name: Names | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        pre_handler: PreHandler | None = None,
        post_handler: PostHandler | None = None,
        fault_handler: FaultHandler | None = None,
        arming: ProbeArming = "auto",
    ) -> Iterator[Kprobe]:
        """A probe for the time of a ``with`` block; ``arming`` as for :meth:`register_kprobe`.

        For a list of names, or a pattern, its ``members`` are the probes, one for each function.
        """
        from kprobesim.kprobes.kprobe import Kprobe
        from kprobesim.kprobes.rules.names import split_names

        p = Kprobe(
            symbol_name if symbol_name is None else ",".join(split_names(symbol_name)),
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
        return_probes = self.kprobes.return_probes
        self._plant(
            [_as_kretprobe(rp)],
            lambda rps: return_probes.register_all(rps, arming),
            arming,
            kretprobe=True,
        )
        return Registration(rp, lambda: self._take_out_returns([rp]))

    @in_turn
    def register_kretprobes(
        self, probes: Sequence[Kretprobe], *, arming: ProbeArming = "auto"
    ) -> Registration:
        """All or none; raises :class:`KprobeError`."""
        asked, return_probes = _as_kretprobes(probes), self.kprobes.return_probes
        self._plant(
            asked, lambda rps: return_probes.register_all(rps, arming), arming, kretprobe=True
        )
        return Registration(asked, lambda: self._take_out_returns(asked))

    def _take_out_returns(self, probes: Sequence[Kretprobe]) -> None:
        registered = [rp for rp in self._let_go(probes) if rp.kp in self.kprobes]
        self.kprobes.return_probes.unregister_all(registered)

    @in_turn
    def unregister_kretprobe(self, rp: Kretprobe) -> None:
        """No handler of ``rp`` runs from now on, also for calls that have not returned yet."""
        self.kprobes.return_probes.unregister_all(self._let_go([_as_kretprobe(rp)]))

    @in_turn
    def unregister_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.return_probes.unregister_all(self._let_go(_as_kretprobes(probes)))

    @in_turn
    def disable_kretprobe(self, rp: Kretprobe) -> None:
        """Follow no further calls; those that are being followed still run the handler."""
        for one in _planted([_as_kretprobe(rp)]):
            self.kprobes.disable_kprobe(one.kp)

    @in_turn
    def enable_kretprobe(self, rp: Kretprobe) -> None:
        """Undo :meth:`disable_kretprobe`."""
        for one in _planted([_as_kretprobe(rp)]):
            self.kprobes.enable_kprobe(one.kp)

    # -- jprobes -----------------------------------------------------------------------------------

    @in_turn
    def register_jprobe(self, jp: Jprobe, *, arming: ProbeArming = "auto") -> Registration:
        """Call ``jp.entry`` with a function's arguments; raises :class:`KprobeError`."""
        return self._register_jprobes([_as_jprobe(jp)], jp, arming)

    @in_turn
    def unregister_jprobe(self, jp: Jprobe) -> None:
        """Take ``jp`` out."""
        self.unregister_jprobes([jp])

    @in_turn
    def register_jprobes(
        self, probes: Sequence[Jprobe], *, arming: ProbeArming = "auto"
    ) -> Registration:
        """All or none; raises :class:`KprobeError`."""
        return self._register_jprobes(_as_jprobes(probes), probes, arming)

    def _register_jprobes(
        self, probes: Sequence[Jprobe], what: object, arming: ProbeArming
    ) -> Registration:
        from kprobesim.kprobes.batch import register_all

        self._plant(
            probes,
            lambda jps: register_all(
                jps, lambda jp: self.kprobes.register_jprobe(jp, arming), self.unregister_jprobes
            ),
            arming,
        )
        return Registration(what, lambda: self._take_out([jp.kp for jp in self._let_go(probes)]))

    @in_turn
    def unregister_jprobes(self, probes: Sequence[Jprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes([jp.kp for jp in self._let_go(_as_jprobes(probes))])

    @in_turn
    def disable_jprobe(self, jp: Jprobe) -> None:
        """Do not call ``jp.entry`` until it is enabled again."""
        for one in _planted([_as_jprobe(jp)]):
            self.kprobes.disable_kprobe(one.kp)

    @in_turn
    def enable_jprobe(self, jp: Jprobe) -> None:
        """Undo :meth:`disable_jprobe`."""
        for one in _planted([_as_jprobe(jp)]):
            self.kprobes.enable_kprobe(one.kp)

    # -- making functions fail ---------------------------------------------------------------------

    @in_turn
    def override_return(
        self,
        symbol: int | str | Symbol,
        value: int = 0,
        *,
        check: bool = False,
        skip: int = 0,
        times: int | None = None,
    ) -> Override:
        """Let the function ``symbol`` return ``value`` at once, instead of doing anything.

        Args:
            symbol: The function, by name or address.
            value: What it returns.
            check: As debugfs' ``fail_function`` does, only for functions marked
                ALLOW_ERROR_INJECTION (else ERANGE), once each (EBUSY), and with values that they
                may fail with (EINVAL); 0 stands for -EINVAL or true where 0 would be no failure.
            skip: So many calls go through first: with 2 the third one is the first to fail.
            times: So many fail then, and no more; ``None``: all.

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
        if skip < 0 or (times is not None and times <= 0):
            raise UsageError(f"skip={skip} and times={times}: give numbers of calls")
        return self.kprobes.fault_injection.override(
            where, value, check=check, skip=skip, times=times
        )

    def override_function_with_return(self, value: int = 0) -> int:
        """In a pre_handler at a function's entry: let it return ``value`` at once.

        Returns 1, which the handler must return:
        ``pre_handler=lambda p, regs: k.override_function_with_return(-5)``.
        """
        self.machine.vcpu.return_to_caller(value)
        return 1


def _planted(probes: Sequence[_P]) -> Iterator[_P]:
    """Those that stand for ``probes``: members, where there are any."""
    from kprobesim.kprobes.members import planted

    return planted(probes)


def as_kprobe(p: object) -> Kprobe:
    """``p``, which must be a ``Kprobe``; raises :class:`UsageError`."""
    from kprobesim.kprobes.kprobe import Kprobe

    if not isinstance(p, Kprobe):
        raise UsageError(f"{p!r} is of type {type(p).__name__}: give a Kprobe")
    return p


def as_kprobes(probes: Sequence[Kprobe]) -> list[Kprobe]:
    """``probes`` as a list; raises :class:`UsageError` if something else is among them."""
    return [as_kprobe(p) for p in as_list(probes, "a list of Kprobe")]


def _as_jprobe(jp: object) -> Jprobe:
    from kprobesim.kprobes.jprobe import Jprobe

    if not isinstance(jp, Jprobe):
        raise UsageError(f"{jp!r} is of type {type(jp).__name__}: give a Jprobe")
    return jp


def _as_kretprobe(rp: object) -> Kretprobe:
    from kprobesim.kprobes.kretprobe import Kretprobe

    if not isinstance(rp, Kretprobe):
        raise UsageError(f"{rp!r} is of type {type(rp).__name__}: give a Kretprobe")
    return rp


def _as_jprobes(probes: Sequence[Jprobe]) -> list[Jprobe]:
    return [_as_jprobe(jp) for jp in as_list(probes, "a list of Jprobe")]


def _as_kretprobes(probes: Sequence[Kretprobe]) -> list[Kretprobe]:
    return [_as_kretprobe(rp) for rp in as_list(probes, "a list of Kretprobe")]
