"""``Judge``: what the kernel would answer to a probe, found without planting it."""

from __future__ import annotations

import errno as errno_names
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINVAL
from typing import Any

from kprobesim.arch.refused import Refused
from kprobesim.errors import KprobeError, Reason, UsageError
from kprobesim.image import KernelImage
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes, Site
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobes import at_entry_only, unresolved_as_kretprobe
from kprobesim.kprobes.model import DEFAULT_MODEL, Model
from kprobesim.kprobes.rules.blacklist import KRETPROBE_BLACKLIST, Blacklist
from kprobesim.kprobes.rules.checks import Place, check_address_safe, check_types, resolve
from kprobesim.kprobes.rules.notrace import Traceable
from kprobesim.kprobes.rules.optimizable import Optimizable

__all__ = ["Judge", "Verdict"]

_SLOT_AREA = {"x86_64": 0xFFFF_FFFF_C000_0000, "arm64": 0}


@dataclass(frozen=True)
class Verdict:
    """The answer for one point; what follows ``address`` is ``None`` where it was refused.

    symbol, offset : as asked
    errno          : 0, or the positive number of the refusal
    reason, message : which rule refused it, and why, in words; ``None`` if accepted (an event that
        waits for its module is, and has them)
    address        : where the probe would be; ``None`` if that is unknown
    on_func_entry  : whether it would be at the entry of a function
    kind           : "int3", "ftrace" or "brk"
    boostable      : whether the slot jumps back by itself
    emulated       : what would be emulated ("jcc", "call", "b_cond" ...), or ``None``
    optimizable    : whether the breakpoint would become a jump (x86-64)
    slot           : the bytes that the slot would hold, if it were where the caller said
    original       : the bytes of the probed instruction
    """

    symbol: str | None
    offset: int
    errno: int
    reason: Reason | None = None
    message: str | None = None
    address: int | None = None
    on_func_entry: bool | None = None
    kind: str | None = None
    boostable: bool | None = None
    emulated: str | None = None
    optimizable: bool | None = None
    slot: bytes | None = None
    original: bytes | None = None

    def __bool__(self) -> bool:
        """Whether the probe would be accepted."""
        return self.errno == 0

    def summary(self) -> str:
        """A few words: how the probe would run, or why it is refused."""
        if self and self.kind is None:
            return self.message or "not armed"
        if not self:
            name = errno_names.errorcode.get(self.errno, str(self.errno))
            return f"-{name} ({self.reason}): {self.message}"
        how = {
            "ftrace": "through ftrace",
            "brk": "stepped in a slot",
            "int3": "stepped in a slot",
        }[self.kind or "int3"]
        if self.emulated is not None:
            how = f"emulated ({self.emulated})"
        elif self.boostable:
            how = "boosted"
        return f"{self.kind}, {how}" + (", optimizable" if self.optimizable else "")

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for JSON: addresses and bytes as hexadecimal text."""
        data = dict(self.__dict__)
        data["reason"] = None if self.reason is None else self.reason.value
        data["address"] = None if self.address is None else f"{self.address:#x}"
        for name in ("slot", "original"):
            data[name] = None if data[name] is None else data[name].hex()
        return data


class Judge:
    """Asks the rules of registration, in their order, as a kernel that has booted would.

    ``read`` gives the guest's code without probes.
    """

    def __init__(
        self,
        image: KernelImage,
        arch: ArchKprobes,
        blacklist: Blacklist,
        read: Callable[[int, int], bytes],
        model: Model = DEFAULT_MODEL,
        *,
        strict: bool = False,
    ) -> None:
        self._image = image
        self._model = model
        self._strict = strict
        self._arch = arch
        self._blacklist = blacklist
        self._read = read
        self._traceable: Traceable | None = None
        self.optimizable = Optimizable(image, read, group_boost=model.x86.group_boost)

    def check(
        self,
        p: Kprobe,
        *,
        kretprobe: bool = False,
        events: bool = False,
        slot_at: int | None = None,
        suggest: bool = True,
    ) -> Verdict:
        """The verdict on ``p``, of which only the place and the handlers' presence matter.

        Raises :class:`UsageError` for what is of the wrong type.
        """
        check_types(p)
        if slot_at is not None and not (isinstance(slot_at, int) and 0 <= slot_at < 1 << 64):
            raise UsageError(f"slot_at {slot_at!r} is no address: give an integer of 64 bits")
        place = None
        module, colon, _ = (p.symbol_name or "").partition(":")
        if events and colon and not self._image.has_module(module):
            return Verdict(
                p.symbol_name,
                p.offset,
                0,
                Reason.MODULE_NOT_LOADED,
                f"the event waits for the module {module}, and is armed once that is loaded",
            )
        model = unresolved_as_kretprobe(self._model) if kretprobe else self._model
        try:
            place = resolve(
                *(self._image, p, self._read, model), strict=self._strict, suggest=suggest
            )
            self._check_interface(place, kretprobe=kretprobe, events=events)
            check_address_safe(self._image, self._blacklist, place, self._model, init_freed=True)
            site = self.site(place, p)
            slot = _SLOT_AREA[self._image.arch] if slot_at is None else slot_at
            ainsn = self._arch.prepare(site, self._read, self._read, slot)
        except KprobeError as error:
            return self._refusal(p, place, error.errno or EINVAL, error.reason, error.strerror)
        except Refused as refused:
            return self._refusal(p, place, refused.errno, refused.reason, refused.message)
        return self._acceptance(p, place, site, ainsn, slot_at)

    def site(self, place: Place, p: Kprobe) -> Site:
        """What the architecture must know of ``place``."""
        image, address = self._image, place.address
        return Site(
            address=address,
            symbol_start=place.symbol_start,
            has_exception_entry=image.exception_table.search(address) is not None,
            has_post_handler=p.post_handler is not None,
            ftrace=image.arch == "x86_64"
            and self._model.x86.ftrace
            and address in image.ftrace_sites,
        )

    def _check_interface(self, place: Place, *, kretprobe: bool, events: bool) -> None:
        """What register_kretprobe() and kprobe_events ask before register_kprobe() does."""
        problem = None
        entry_only = at_entry_only(self._model, strict=self._strict)
        if kretprobe and entry_only and not place.on_func_entry:
            problem = Reason.NOT_FUNCTION_ENTRY, "is not the entry of a function"
        elif kretprobe and place.symbol in KRETPROBE_BLACKLIST[self._image.arch]:
            problem = Reason.BLACKLISTED, "does not return to its caller"
        elif events:
            if self._traceable is None:
                self._traceable = Traceable(self._image)
            if place.address not in self._traceable:
                problem = Reason.NOT_TRACEABLE, "is in a function that ftrace cannot trace"
        if problem is not None:
            raise Refused(EINVAL, problem[0], f"{place} {problem[1]}")

    def _refusal(
        self, p: Kprobe, place: Place | None, errno: int, reason: Reason, message: str | None
    ) -> Verdict:
        return Verdict(
            p.symbol_name,
            p.offset,
            errno,
            reason,
            message,
            place.address if place else None,
            place.on_func_entry if place else None,
        )

    def _acceptance(
        self, p: Kprobe, place: Place, site: Site, ainsn: ArchInsn, slot_at: int | None
    ) -> Verdict:
        kind = "brk" if self._image.arch == "arm64" else "ftrace" if site.ftrace else "int3"
        return Verdict(
            p.symbol_name,
            p.offset,
            0,
            address=place.address,
            on_func_entry=place.on_func_entry,
            kind=kind,
            boostable=ainsn.boostable,
            emulated=None if site.ftrace else ainsn.emulate_kind,
            optimizable=kind == "int3"
            and p.post_handler is None
            and self.optimizable.size(place.address) > 0,
            slot=ainsn.slot_bytes if slot_at is not None and ainsn.insn is not None else None,
            original=self._read(place.address, ainsn.size),
        )
