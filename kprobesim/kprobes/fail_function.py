"""Making functions fail: override_return() in the manner of kernel/fail_function.c (6.1).

The probe at the entry sets the result and goes on where the caller does, so that nothing of the
function runs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from kprobesim.errors import KprobeError, Reason
from kprobesim.image.tables.error_injection import InjectionType
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.table import KprobeTable
from kprobesim.machine.registration import Registration
from kprobesim.machine.system import System

__all__ = ["FaultInjection", "Override"]


def _no_post_handler(p: Kprobe, regs: Any, flags: int) -> None:
    """Never called. That there is one keeps the probe from being optimised or boosted."""


class Override(Registration):
    """A function that returns ``value`` at once, until :meth:`remove`; also a context manager.

    Attributes:
        kp: The probe.
        value: May be changed at any time.
        skip: So many calls go through first.
        times: So many fail then, and no more; ``None``: all.
        hits: Counts the calls, also those that go through.
    """

    def __init__(
        self,
        machine: System,
        kp: Kprobe,
        value: int,
        remove: Callable[[Override], None],
        skip: int = 0,
        times: int | None = None,
    ) -> None:
        """Give ``kp``, which is not yet registered, its handlers; ``remove(self)`` undoes it."""
        super().__init__(kp, lambda: remove(self))
        self.kp = kp
        self.value = value
        self.skip = skip
        self.times = times
        self.hits = 0

        def pre_handler(p: Kprobe, regs: Any) -> int:
            self.hits += 1
            failed = self.hits - self.skip
            if failed <= 0 or (self.times is not None and failed > self.times):
                return 0
            machine.vcpu.return_to_caller(self.value)
            return 1

        kp.pre_handler = pre_handler
        kp.post_handler = _no_post_handler

    def __repr__(self) -> str:
        return f"<Override {self.kp.symbol_name or hex(self.kp.addr or 0)} returns {self.value}>"


class FaultInjection:
    """What ``fail_function`` of debugfs does, for one guest."""

    def __init__(
        self,
        machine: System,
        rules: Rules,
        table: KprobeTable,
        register_kprobe: Callable[[Kprobe], None],
        unregister_kprobe: Callable[[Kprobe], None],
    ) -> None:
        self._machine = machine
        self._rules = rules
        self._image = rules.image
        self._table = table
        self._register_kprobe = register_kprobe
        self._unregister_kprobe = unregister_kprobe
        self._injected: dict[int, Override] = {}

    def override(
        self, symbol: int | str, value: int, *, check: bool, skip: int = 0, times: int | None = None
    ) -> Override:
        """Let ``symbol`` return ``value``; raises :class:`KprobeError`."""
        kp = Kprobe(symbol) if isinstance(symbol, str) else Kprobe(addr=symbol)
        site = self._rules.site(kp, "fail_function")
        if check:
            value = self._check(site, value)

        def remove(override: Override) -> None:
            if kp in self._table:
                self._unregister_kprobe(kp)
            if self._injected.get(site.address) is override:
                del self._injected[site.address]

        override = Override(self._machine, kp, value, remove, skip, times)
        self._register_kprobe(kp)
        if check:
            self._injected[site.address] = override
        return override

    def _check(self, site: Site, value: int) -> int:
        """The value to return, if the kernel would let the function return it."""
        kind = self._image.error_injection.type_of(site.symbol_start)
        if kind is None:
            raise _refusal(
                errno.ERANGE,
                Reason.NOT_ERROR_INJECTABLE,
                f"{site} is not marked ALLOW_ERROR_INJECTION; leave check out to do it all "
                "the same",
                site,
            )
        if site.address in self._injected:
            raise _refusal(
                errno.EBUSY,
                Reason.ALREADY_INJECTED,
                f"{site} is overridden already; remove that first",
                site,
            )
        value = value or kind.default()
        if not kind.accepts(value):
            raise _refusal(
                errno.EINVAL,
                Reason.UNACCEPTABLE_VALUE,
                f"{site} fails with {kind.value}, not with {value:#x}",
                site,
            )
        return value

    def kinds(self) -> list[tuple[str, InjectionType]]:
        """The whitelist, as debugfs' ``error_injection/list``: symbols and how they fail."""
        names = ((self._image.symbols.at(address), kind) for address, kind in self._listed())
        return [(found.symbol.name, kind) for found, kind in names if found is not None]

    def _listed(self) -> list[tuple[int, InjectionType]]:
        return list(self._image.error_injection)


def _refusal(number: int, reason: Reason, message: str, site: Site) -> KprobeError:
    return KprobeError(number, reason, message, symbol=str(site), address=site.address)
