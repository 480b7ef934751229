"""Registering return probes: register_kretprobe() and its siblings of kernel/kprobes.c (6.1)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from kprobesim.errors import KprobeError, Reason, UsageError
from kprobesim.kprobes.arming.armings import ProbeArming
from kprobesim.kprobes.batch import register_all
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe, Rethook
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.rethook import Returns
from kprobesim.kprobes.rules.lookup import check_types
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.table import KprobeTable

__all__ = ["ReturnProbes"]

_MOST_DATA = 4096  # KRETPROBE_MAX_DATA_SIZE


def default_maxactive(model: Model, cpus: int, *, preemptible: bool) -> int:
    """How many calls are followed at a time if nothing is asked for."""
    if model.kretprobe_maxactive == "cpus unless preemptible" and not preemptible:
        return cpus
    return max(10, 2 * cpus)


class ReturnProbes:
    """Gives return probes their instances, and lets the manager plant their entry probes."""

    def __init__(
        self,
        rules: Rules,
        table: KprobeTable,
        returns: Returns,
        register_kprobe: Callable[[Kprobe, ProbeArming], None],
        unregister_kprobes: Callable[[Sequence[Kprobe]], None],
    ) -> None:
        self._rules = rules
        self._table = table
        self._returns = returns
        self._register_kprobe = register_kprobe
        self._unregister_kprobes = unregister_kprobes
        self._registered = 0

    @property
    def default_maxactive(self) -> int:
        """How many calls are followed at a time if nothing is asked for."""
        return default_maxactive(
            self._rules.model, self._returns.cpus, preemptible=self._rules.image.preemptible
        )

    def register(self, rp: Kretprobe, arming: ProbeArming = "auto") -> None:
        """Follow the calls of a function from now on; raises :class:`KprobeError`."""
        kp = rp.kp
        _check_types(rp)
        # A probe that is registered already has an address beside its symbol: refused, too.
        site = self._rules.site(kp, "kretprobe")
        if kp in self._table:
            raise _refusal(
                Reason.ALREADY_REGISTERED,
                "this probe is registered already; unregister it first or make another Kretprobe",
                site,
            )
        if not 0 <= rp.data_size <= _MOST_DATA:
            raise _refusal(
                Reason.DATA_SIZE,
                f"data_size {rp.data_size} is more than {_MOST_DATA} bytes for each call",
                site,
                errno.E2BIG,
            )
        if rp.maxactive <= 0:
            rp.maxactive = self.default_maxactive
        rp.nmissed = 0
        if not self._registered:
            self._returns.start()
        self._registered += 1
        rethook = Rethook(rp)
        kp.pre_handler, kp.post_handler = self._returns.pre_handler(rethook), None
        try:
            self._register_kprobe(kp, arming)
        except BaseException:
            self._forget_one()
            raise
        rp.rethook = rethook

    def register_all(self, probes: Sequence[Kretprobe], arming: ProbeArming = "auto") -> None:
        """All or none: the first refusal unregisters the earlier ones and is raised."""
        register_all(probes, lambda rp: self.register(rp, arming), self.unregister_all)

    def unregister_all(self, probes: Sequence[Kretprobe]) -> None:
        """No handler runs from now on, also of calls that have not returned yet."""
        try:  # first: calls that other CPUs are about to make are followed, and then forgotten
            self._unregister_kprobes([rp.kp for rp in probes])
        finally:
            for rp in probes:
                rethook, rp.rethook = rp.rethook, None
                if rethook is not None:
                    rethook.rp = None
                    self._forget_one()

    def _forget_one(self) -> None:
        self._registered -= 1
        if not self._registered:
            self._returns.stop()


def _refusal(reason: Reason, message: str, site: Site, number: int = errno.EINVAL) -> KprobeError:
    return KprobeError(number, reason, message, symbol=str(site), address=site.address)


def _check_types(rp: Kretprobe) -> None:
    check_types(rp.kp)
    for name, value in (("maxactive", rp.maxactive), ("data_size", rp.data_size)):
        if not isinstance(value, int) or not -(1 << 31) <= value < 1 << 31:
            raise UsageError(f"{name} {value!r} is no integer of 32 bits")
    for name, handler in (("handler", rp.handler), ("entry_handler", rp.entry_handler)):
        if handler is not None and not callable(handler):
            raise UsageError(f"{name} {handler!r} cannot be called: give a function")
