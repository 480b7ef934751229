"""Registering return probes: register_kretprobe() and its siblings of kernel/kprobes.c (6.1)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace

from kprobesim.errors import KprobeError, Reason, UsageError
from kprobesim.image import KernelImage
from kprobesim.kprobes.batch import register_all
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe, Rethook
from kprobesim.kprobes.model import DEFAULT_MODEL, Model
from kprobesim.kprobes.rethook import Returns
from kprobesim.kprobes.rules.blacklist import KRETPROBE_BLACKLIST
from kprobesim.kprobes.rules.checks import Place, check_types, resolve
from kprobesim.kprobes.table import KprobeTable

__all__ = ["ReturnProbes", "at_entry_only", "unresolved_as_kretprobe"]

_MOST_DATA = 4096  # KRETPROBE_MAX_DATA_SIZE
_CPUS = 1


def default_maxactive(model: Model, *, preemptible: bool) -> int:
    """How many calls are followed at a time if nothing is asked for."""
    if model.kretprobe_maxactive == "cpus unless preemptible" and not preemptible:
        return _CPUS
    return max(10, 2 * _CPUS)


def at_entry_only(model: Model, *, strict: bool) -> bool:
    """Whether elsewhere is refused; old kernels take any word of the stack for the return address,
    which only ``strict`` imitates."""
    return model.kretprobe_at_entry_only or not strict


def unresolved_as_kretprobe(model: Model) -> Model:
    """``model``, with the answer of register_kretprobe() to an unknown symbol."""
    return replace(model, unresolved_errno=model.kretprobe_unresolved_errno)


class ReturnProbes:
    """Gives return probes their instances, and lets the manager plant their entry probes."""

    def __init__(
        self,
        image: KernelImage,
        table: KprobeTable,
        returns: Returns,
        read_original: Callable[[int, int], bytes],
        register_kprobe: Callable[[Kprobe], None],
        unregister_kprobes: Callable[[Sequence[Kprobe]], None],
        model: Model = DEFAULT_MODEL,
        *,
        strict: bool = False,
    ) -> None:
        self._model = model
        self._strict = strict
        self._image = image
        self._table = table
        self._returns = returns
        self._read_original = read_original
        self._register_kprobe = register_kprobe
        self._unregister_kprobes = unregister_kprobes
        self._registered = 0

    def register(self, rp: Kretprobe) -> None:
        """Follow the calls of a function from now on; raises :class:`KprobeError`."""
        kp = rp.kp
        _check_types(rp)
        # A probe that is registered already has an address beside its symbol: refused, too.
        model = unresolved_as_kretprobe(self._model)
        place = resolve(self._image, kp, self._read_original, model, strict=self._strict)
        if not place.on_func_entry and at_entry_only(model, strict=self._strict):
            raise _refusal(
                Reason.NOT_FUNCTION_ENTRY,
                f"{place} is not where a function begins: only there is its return address known",
                place,
            )
        if kp in self._table:
            raise _refusal(
                Reason.ALREADY_REGISTERED,
                "this probe is registered already; unregister it first or make another Kretprobe",
                place,
            )
        if place.symbol in KRETPROBE_BLACKLIST[self._image.arch]:
            raise _refusal(
                Reason.BLACKLISTED,
                f"the return of {place} must not be probed: it returns in another task",
                place,
            )
        if not 0 <= rp.data_size <= _MOST_DATA:
            raise _refusal(
                Reason.DATA_SIZE,
                f"data_size {rp.data_size} is more than {_MOST_DATA} bytes for each call",
                place,
                errno.E2BIG,
            )
        if rp.maxactive <= 0:
            rp.maxactive = default_maxactive(model, preemptible=self._image.preemptible)
        rp.nmissed = 0
        if not self._registered:
            self._returns.start()
        self._registered += 1
        rethook = Rethook(rp)
        kp.pre_handler, kp.post_handler = self._returns.pre_handler(rethook), None
        try:
            self._register_kprobe(kp)
        except BaseException:
            self._forget_one()
            raise
        rp.rethook = rethook

    def register_all(self, probes: Sequence[Kretprobe]) -> None:
        """All or none: the first refusal unregisters the earlier ones and is raised."""
        register_all(probes, self.register, self.unregister_all)

    def unregister_all(self, probes: Sequence[Kretprobe]) -> None:
        """No handler runs from now on, also of calls that have not returned yet."""
        for rp in probes:
            rethook, rp.rethook = rp.rethook, None
            if rethook is not None:
                rethook.rp = None
                self._forget_one()
        self._unregister_kprobes([rp.kp for rp in probes])

    def _forget_one(self) -> None:
        self._registered -= 1
        if not self._registered:
            self._returns.stop()


def _refusal(reason: Reason, message: str, place: Place, number: int = errno.EINVAL) -> KprobeError:
    return KprobeError(number, reason, message, symbol=str(place), address=place.address)


def _check_types(rp: Kretprobe) -> None:
    check_types(rp.kp)
    for name, value in (("maxactive", rp.maxactive), ("data_size", rp.data_size)):
        if not isinstance(value, int) or not -(1 << 31) <= value < 1 << 31:
            raise UsageError(f"{name} {value!r} is no integer of 32 bits")
    for name, handler in (("handler", rp.handler), ("entry_handler", rp.entry_handler)):
        if handler is not None and not callable(handler):
            raise UsageError(f"{name} {handler!r} cannot be called: give a function")
