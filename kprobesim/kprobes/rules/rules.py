"""``Rules``: whether a kernel takes a probe, and how it would run there. No CPU is needed.

One pipeline for whoever plants a probe and for who only asks: what a ``Kprobe`` names becomes a
:class:`Site` (:meth:`Rules.site`), which is checked (:meth:`Rules.check_safe`) and whose
instruction is prepared (:meth:`Rules.prepare`). Each refusal is a ``KprobeError``, worded here or
in the files beside, and :meth:`Rules.check` makes a :class:`Verdict` of it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from kprobesim.arch.refused import Refused
from kprobesim.errors import KprobeError, Reason, UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes, arch_kprobes
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.rules.address import check_address_safe
from kprobesim.kprobes.rules.blacklist import KRETPROBE_BLACKLIST, Blacklist
from kprobesim.kprobes.rules.lookup import Lookup, check_types
from kprobesim.kprobes.rules.notrace import Traceable
from kprobesim.kprobes.rules.optimizable import Optimizable
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.sizes import MASK64

__all__ = ["Interface", "Read", "Rules"]

Read = Callable[[int, int], bytes]
"""``read(address, size)``: the guest's code without probes."""
Interface = Literal["kprobe", "kretprobe", "fail_function"]
"""Who plants the probe; a jprobe is a kprobe."""

_MOST_ERRNO = 4095
_ENTRY_NEEDED = {
    "kretprobe": "only there is its return address known",
    "fail_function": "only there can it return at once",
}


class Rules:
    """The rules of the kernel in ``image``, whose running code ``read`` gives.

    ``model`` is whose kprobes these are; ``strict`` imitates it where it is wrong, too. ``arch`` is
    the architecture's half, by default that of the model. ``traceable`` holds the addresses of
    functions that ftrace can trace.
    """

    def __init__(
        self,
        image: KernelImage,
        read: Read,
        model: Model,
        *,
        strict: bool = False,
        arch: ArchKprobes | None = None,
    ) -> None:
        self.image = image
        self.model = model
        self.strict = strict
        self.blacklist = Blacklist(image, model)
        self.optimizable = Optimizable(image, read, group_boost=model.x86.group_boost)
        self._read = read
        stepping = model.of(image.arch).stepping
        self._arch = arch or arch_kprobes(image, stepping, model, strict=strict)
        self._lookup = Lookup(image, read, model, strict=strict)
        self.traceable = Traceable(image)
        self._judged: dict[tuple[Any, ...], Site] | None = None
        self._safe: set[int] = set()  # ids of these sites

    @contextmanager
    def judging_once(self) -> Iterator[None]:
        """Meanwhile no code of the guest runs: whoever was not refused need not be judged again.

        A pattern judges all functions that match, and those that it takes are then registered.
        """
        if self._judged is not None:
            yield
            return
        self._judged = {}
        try:
            yield
        finally:
            self._judged = None
            self._safe.clear()

    # -- the pipeline ----------------------------------------------------------------------------

    def site(
        self,
        p: Kprobe,
        interface: Interface = "kprobe",
        *,
        events: bool = False,
        first: bool = False,
        suggest: bool = True,
    ) -> Site:
        """Where ``p`` goes, unless its ``interface`` does not take that place.

        Args:
            p: The probe, of which only the place and the presence of handlers matter.
            interface: Who plants it.
            events: kprobe_events asks, which wants unique names that ftrace can trace.
            first: Of several symbols of one name take the first; else that is an error.
            suggest: Name symbols like an unknown one, which takes a while.

        Raises:
            KprobeError: There is no such place, or it is not for this interface.
            UsageError: An attribute of ``p`` is of the wrong type.
        """
        if self._judged and not (events or first):
            known = self._judged.get(_asked(p, interface))
            if known is not None:
                return known
        check_types(p)
        site = self._find(p, interface, events=events, first=first, suggest=suggest)
        self._check_interface(site, interface, events=events)
        return site

    def _find(
        self, p: Kprobe, interface: Interface, *, events: bool, first: bool, suggest: bool
    ) -> Site:
        if self.strict:
            self._check_model(p)
        model = self.model
        unresolved = (
            model.kretprobe_unresolved_errno if interface == "kretprobe" else model.unresolved_errno
        )
        address = self._lookup.address(
            p, unresolved=unresolved, events=events, first=first, suggest=suggest
        )
        found = self._lookup.enclosing(p, address, outside=self._outside(address, interface))
        start, entry = found.symbol.address, found.offset == 0
        behind = self._lookup.entry_behind_endbr(start, found.offset)
        if behind is not None:
            address, entry = behind, True
        image = self.image
        return Site(
            address=address,
            symbol=found.symbol.name,
            symbol_start=start,
            on_func_entry=entry,
            has_exception_entry=image.exception_table.search(address) is not None,
            has_post_handler=p.post_handler is not None,
            ftrace=model.of(image.arch).ftrace and address in image.ftrace_sites,
        )

    def _outside(self, address: int, interface: Interface) -> int:
        """The errno of an address in no symbol.

        Before 6.1 it is taken for text and found to be none; but kretprobes ask whether it is an
        entry first, and an address that is an error number (IS_ERR()) fails with that.
        """
        if self.model.place_needs_symbol:
            return errno.ENOENT
        if address > MASK64 - _MOST_ERRNO:
            return MASK64 + 1 - address
        asks = interface == "kretprobe" and self.model.kretprobe_unresolved_errno == "ENOENT"
        return errno.ENOENT if asks else errno.EINVAL

    def candidates(self, name: str) -> list[Symbol]:
        """The symbols that ``name`` may mean, in the order in which the kernel looks."""
        return self._lookup.candidates(name)

    def check_safe(self, site: Site, *, init_freed: bool) -> None:
        """Refuse a ``site`` where no probe may be, whatever the instruction.

        Raises:
            KprobeError: It is no text, blacklisted, patched by the kernel, or a BUG.
        """
        if id(site) in self._safe:
            return
        check_address_safe(self.image, self.blacklist, site, self.model, init_freed=init_freed)

    def prepare(self, site: Site, make: Callable[[Site], ArchInsn]) -> ArchInsn:
        """What ``make`` finds of the instruction at ``site``.

        Raises:
            KprobeError: It cannot be probed.
        """
        try:
            return make(site)
        except Refused as refused:
            raise KprobeError(
                refused.errno,
                refused.reason,
                f"{site} cannot be probed: {refused.message}",
                symbol=str(site),
                address=site.address,
            ) from None

    def _check_model(self, p: Kprobe) -> None:
        """Refuse what ``struct kprobe`` of the model does not have."""
        if p.fault_handler is not None and not self.model.fault_handlers:
            raise KprobeError(
                errno.EINVAL,
                Reason.NOT_IN_THIS_KERNEL,
                f"kernels like {self.model.name} know no fault_handler: it was removed in 5.14; "
                "strict=False allows one all the same",
                symbol=p.symbol_name,
                address=p.addr,
            )

    def _check_interface(self, site: Site, interface: Interface, *, events: bool) -> None:
        """What is asked before register_kprobe() does.

        Old kernels take a kretprobe anywhere, and any word of the stack for the return address,
        which only ``strict`` imitates.
        """
        problem = None
        anywhere = interface == "kprobe" or (
            interface == "kretprobe" and self.strict and not self.model.kretprobe_at_entry_only
        )
        if not anywhere and not site.on_func_entry:
            problem = (
                Reason.NOT_FUNCTION_ENTRY,
                f"{site} is not where a function begins: {_ENTRY_NEEDED[interface]}",
            )
        elif interface == "kretprobe" and site.symbol in KRETPROBE_BLACKLIST[self.image.arch]:
            problem = (
                Reason.BLACKLISTED,
                f"the return of {site} must not be probed: it returns in another task",
            )
        elif events and site.address not in self.traceable:
            problem = (
                Reason.NOT_TRACEABLE,
                f"{site} is in a function that ftrace cannot trace; register_kprobe() may take it",
            )
        if problem is not None:
            raise KprobeError(errno.EINVAL, *problem, symbol=str(site), address=site.address)

    def refusal(
        self, p: Kprobe, interface: Interface = "kprobe", *, init_freed: bool
    ) -> KprobeError | None:
        """Why ``p`` would be refused, if it would be, by this kernel as it is now.

        Args:
            p: The probe, of which only the place and the presence of handlers matter.
            interface: Who plants it.
            init_freed: Whether the memory of ``__init`` functions has been given back.

        Raises:
            UsageError: An attribute of ``p`` is of the wrong type.
        """
        slot = self.image.isa.slot_area
        try:
            site = self.site(p, interface, suggest=False)
            self.check_safe(site, init_freed=init_freed)
            self.prepare(site, lambda site: self._arch.prepare(site, self._read, self._read, slot))
        except KprobeError as error:
            return error
        if self._judged is not None:
            self._judged[_asked(p, interface)] = site
            self._safe.add(id(site))
        return None

    # -- asking ----------------------------------------------------------------------------------

    def check(
        self,
        p: Kprobe,
        *,
        kretprobe: bool = False,
        events: bool = False,
        slot_at: int | None = None,
        suggest: bool = True,
    ) -> Verdict:
        """What a kernel that has booted would answer to ``p``; nothing is planted.

        Args:
            p: The probe, of which only the place and the presence of handlers matter.
            kretprobe: Ask for a return probe.
            events: Ask as a write into ``kprobe_events``.
            slot_at: The address of a slot, whose bytes the verdict then tells.
            suggest: Name symbols like an unknown one, which takes a while.

        Raises:
            UsageError: Something is of the wrong type.
        """
        if slot_at is not None and not (isinstance(slot_at, int) and 0 <= slot_at < 1 << 64):
            raise UsageError(f"slot_at {slot_at!r} is no address: give an integer of 64 bits")
        check_types(p)
        module, colon, _ = (p.symbol_name or "").partition(":")
        answer = self._about(p, module if colon else None)
        if events and colon and not self.image.has_module(module):
            answer["reason"] = Reason.MODULE_NOT_LOADED
            answer["message"] = (
                f"the event waits for the module {module}, and is armed once that is loaded"
            )
            return Verdict(**answer)
        interface: Interface = "kretprobe" if kretprobe else "kprobe"
        try:
            if events and kretprobe and answer["same_named"] > 1:
                self._check_entry_of_first(p)
            site = self._find(p, interface, events=events, first=True, suggest=suggest)
            self._locate(answer, site)
            self._check_interface(site, interface, events=events)
            self.check_safe(site, init_freed=True)
            slot = self.image.isa.slot_area if slot_at is None else slot_at
            ainsn = self.prepare(
                site, lambda site: self._arch.prepare(site, self._read, self._read, slot)
            )
        except KprobeError as error:
            answer |= {"errno": error.errno, "reason": error.reason, "message": error.strerror}
            return Verdict(**answer)
        kind = "ftrace" if site.ftrace else self.image.isa.breakpoint_name
        return Verdict(
            **answer,
            kind=kind,
            boostable=ainsn.boostable,
            emulated=None if site.ftrace else ainsn.emulate_kind,
            optimizable=not site.ftrace
            and p.post_handler is None
            and self.optimizable.size(site.address) > 0,
            slot=ainsn.slot_bytes if slot_at is not None and ainsn.insn is not None else None,
            original=self._read(site.address, ainsn.size),
        )

    def _check_entry_of_first(self, p: Kprobe) -> None:
        """kprobe_events asks whether a return probe is at an entry before it counts the names."""
        try:
            self.site(p, "kretprobe", first=True)
        except KprobeError as error:
            if error.reason is Reason.NOT_FUNCTION_ENTRY:
                raise

    def _about(self, p: Kprobe, module: str | None) -> dict[str, Any]:
        """What of a verdict is known before anything is looked up."""
        return {
            "symbol": p.symbol_name,
            "offset": p.offset,
            "errno": 0,
            "same_named": self._lookup.same_named(p),
            "module": module,
            "release": self.image.release,
            "arch": self.image.arch,
            "model": self.model.name,
        }

    def _locate(self, answer: dict[str, Any], site: Site) -> None:
        """What is known of it once its place is."""
        found = self.image.symbols.at(site.address)
        answer["address"] = site.address
        answer["on_func_entry"] = site.on_func_entry
        answer["module"] = (found.symbol.module if found is not None else "") or None


def _asked(p: Kprobe, interface: Interface) -> tuple[Any, ...]:
    """All of ``p`` that a verdict depends on."""
    handlers = p.post_handler is None, p.fault_handler is None
    return p.symbol_name, p.addr, p.offset, handlers, interface
