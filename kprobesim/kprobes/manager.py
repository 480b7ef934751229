"""The probes' manager: registration, arming, and the table that the hit path looks into."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence

from kprobesim.arch.refused import Refused
from kprobesim.errors import KprobeError, Reason
from kprobesim.image import KernelImage
from kprobesim.kprobes.archs import Site, Stepping, arch_kprobes
from kprobesim.kprobes.arming import (
    Arming,
    BreakpointArming,
    HookArming,
    HowToArm,
)
from kprobesim.kprobes.blacklist import Blacklist
from kprobesim.kprobes.checks import Place, check_address_safe, resolve
from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.hit import HitPath
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.slots import SlotCache
from kprobesim.machine.guest import Guest

__all__ = ["KprobesManager"]


def _no_slots() -> int:
    raise AssertionError("a hook needs no slot")


class KprobesManager:
    """The kprobes subsystem of one guest.

    ``stepping`` is "breakpoint" (a breakpoint behind the copy, as current kernels) or "trap" (the
    CPU's single step, as x86 before 5.13 and ARM64 before 5.11). ``arming`` is "breakpoint" (the
    kernel's way) or "hook" (no byte of the guest changes; what has to be stepped is, by the CPU).
    ``new_slot_page`` maps a page for slots, which only breakpoints need.
    """

    def __init__(
        self,
        machine: Guest,
        image: KernelImage,
        stepping: Stepping,
        arming: HowToArm = "breakpoint",
        new_slot_page: Callable[[], int] = _no_slots,
    ) -> None:
        self._machine = machine
        self._image = image
        self._arch = arch_kprobes(image, stepping)
        self._blacklist = Blacklist(image)
        self._table: dict[int, Kprobe] = {}
        self._known: set[int] = set()
        boosted: dict[int, Kprobe] = {}
        ctlblk = KprobeCtlblk()
        self.ctlblk = [ctlblk]
        """One a CPU; there is one CPU."""
        self.slots = SlotCache(self._arch.slot_size, new_slot_page)
        self.hit_path = HitPath(
            machine,
            self._arch,
            self._table,
            boosted,
            ctlblk,
            single_step=stepping == "trap" or arming == "hook",
        )
        self._arming: Arming
        if arming == "hook":
            hooks = HookArming(machine, image, self._arch, self.hit_path.hook)
            self.hit_path.refresh = hooks.refresh
            self._arming = hooks  # every breakpoint is the guest's own, also at a probe's address
        else:
            machine.breakpoint = self.hit_path.breakpoint
            self._arming = BreakpointArming(
                machine, self._arch, self.slots, boosted, lambda: ctlblk.running is None
            )
        machine.step = self.hit_path.step
        machine.trap_handlers.insert(0, self.hit_path.fault)
        machine.save_state = ctlblk.save
        machine.restore_state = ctlblk.restore

    # -- looking up ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, p: object) -> bool:
        """Whether this very probe is registered."""
        return id(p) in self._known

    def __iter__(self) -> Iterator[Kprobe]:
        """All registered probes, in order of registration."""
        return iter(list(self._table.values()))

    def get_kprobe(self, address: int) -> Kprobe | None:
        """The probe at ``address``."""
        return self._table.get(address)

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code as it was before any probe was armed."""
        return self._arming.read_original(address, size)

    # -- registering -----------------------------------------------------------------------------

    def register_kprobe(self, p: Kprobe) -> None:
        """Plant ``p`` and arm it, unless its flags say DISABLED.

        Raises :class:`KprobeError`; then nothing has changed but ``p.addr``, as in the kernel.
        """
        if id(p) in self._known:
            raise KprobeError(
                errno.EINVAL,
                Reason.ALREADY_REGISTERED,
                "this probe is registered already; unregister it first or make another Kprobe",
                symbol=p.symbol_name,
                address=p.addr,
            )
        place = resolve(self._image, p)
        p.addr = place.address
        p.flags &= KprobeFlag.DISABLED
        if not place.offset:
            p.flags |= KprobeFlag.ON_FUNC_ENTRY
        p.nmissed = 0
        check_address_safe(self._image, self._blacklist, place)
        if place.address in self._table:
            raise KprobeError(
                errno.EEXIST,
                Reason.ALREADY_REGISTERED,
                f"another probe is at {place} already",
                symbol=str(place),
                address=place.address,
            )
        self._prepare(p, place)
        self._table[place.address] = p
        self._known.add(id(p))
        if not p.disabled:
            self._arming.arm(p)

    def unregister_kprobe(self, p: Kprobe) -> None:
        """Take ``p`` out and restore the instruction. ``p.addr`` stays, as in the kernel."""
        if id(p) not in self._known or p.addr is None or self._table.get(p.addr) is not p:
            raise KprobeError(
                errno.EINVAL,
                Reason.NOT_REGISTERED,
                "this probe is not registered",
                symbol=p.symbol_name,
                address=p.addr,
            )
        self._arming.disarm(p)
        self._arming.release(p)
        del self._table[p.addr]
        self._known.discard(id(p))

    def register_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Register all or none: the first refusal unregisters the earlier ones and is raised."""
        done: list[Kprobe] = []
        try:
            for p in probes:
                self.register_kprobe(p)
                done.append(p)
        except KprobeError:
            self.unregister_kprobes(done)
            raise

    def unregister_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Unregister each of ``probes``."""
        for p in probes:
            self.unregister_kprobe(p)

    def _prepare(self, p: Kprobe, place: Place) -> None:
        """Copy and analyse the instruction (``arch_prepare_kprobe()``)."""
        site = Site(
            address=place.address,
            symbol_start=place.symbol_start,
            has_exception_entry=self._image.exception_table.search(place.address) is not None,
            has_post_handler=p.post_handler is not None,
        )
        try:
            p.ainsn = self._arming.prepare(p, site)
        except Refused as refused:
            raise KprobeError(
                refused.errno,
                refused.reason,
                f"{place} cannot be probed: {refused.message}",
                symbol=str(place),
                address=place.address,
            ) from None
        width = len(self._arch.breakpoint)
        p.opcode = int.from_bytes(self.read_original(place.address, width), "little")
