"""The probes' manager: registration, arming, and the table that the hit path looks into."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from kprobesim.arch.refused import Refused
from kprobesim.errors import KprobeError, Reason
from kprobesim.image import KernelImage
from kprobesim.kprobes.archs import ArchInsn, Site, Stepping, arch_kprobes
from kprobesim.kprobes.blacklist import Blacklist
from kprobesim.kprobes.checks import Place, check_address_safe, resolve
from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.hit import HitPath
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.slots import SlotCache
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import PAGE, Prot

__all__ = ["KprobesManager"]


class KprobesManager:
    """The kprobes subsystem of one guest.

    ``stepping`` is "breakpoint" (a breakpoint behind the copy, as current kernels) or "trap" (the
    CPU's single step, as x86 before 5.13 and ARM64 before 5.11).
    """

    def __init__(self, machine: Machine, image: KernelImage, stepping: Stepping) -> None:
        self._machine = machine
        self._image = image
        self._arch = arch_kprobes(image, stepping)
        self._blacklist = Blacklist(image)
        self._table: dict[int, Kprobe] = {}
        self._known: set[int] = set()
        self._boosted: dict[int, Kprobe] = {}
        self.ctlblk = [KprobeCtlblk()]
        """One a CPU; there is one CPU."""
        self._next_slot_page = machine.cpu.modules_start
        self.slots = SlotCache(self._arch.slot_size, self._new_slot_page)
        self.hit_path = HitPath(
            machine,
            self._arch,
            self._table,
            self._boosted,
            self.ctlblk[0],
            single_step=stepping == "trap",
        )
        machine.breakpoint = self.hit_path.breakpoint
        machine.step = self.hit_path.step
        machine.trap_handlers.insert(0, self.hit_path.fault)
        machine.save_state = self.ctlblk[0].save
        machine.restore_state = self.ctlblk[0].restore

    def _new_slot_page(self) -> int:
        page = self._next_slot_page
        self._next_slot_page += PAGE
        self._machine.memory.map_new(page, PAGE, Prot.RX, "kprobe_insn_page")
        return page

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
        memory = self._machine.memory
        code = bytearray(memory.read(address, size))
        width = len(self._arch.breakpoint)
        for probed in range(address - width + 1, address + size):
            p = self._table.get(probed)
            if p is not None and not p.disabled:
                original = p.opcode.to_bytes(width, "little")
                for index in range(width):
                    if address <= probed + index < address + size:
                        code[probed + index - address] = original[index]
        return bytes(code)

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
            self._arm(p)

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
        if not p.disabled:
            self._disarm(p)
        del self._table[p.addr]
        self._known.discard(id(p))
        slot = p.ainsn.insn
        if slot is not None:
            self._boosted.pop(slot, None)
            # The CPU may still be on its way through the slot if this is called from a handler.
            self.slots.free(slot, dirty=True)

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
        slot = self.slots.get(collect=self.ctlblk[0].running is None)
        try:
            ainsn = self._arch.prepare(site, self.read_original, self._machine.memory.read, slot)
        except Refused as refused:
            self.slots.free(slot, dirty=False)
            raise KprobeError(
                refused.errno,
                refused.reason,
                f"{place} cannot be probed: {refused.message}",
                symbol=str(place),
                address=place.address,
            ) from None
        if ainsn.insn is None:
            self.slots.free(slot, dirty=False)
        else:
            self._write_slot(p, ainsn, slot)
        p.ainsn = ainsn
        width = len(self._arch.breakpoint)
        p.opcode = int.from_bytes(self.read_original(place.address, width), "little")

    def _write_slot(self, p: Kprobe, ainsn: ArchInsn, slot: int) -> None:
        self._machine.text.poke(slot, ainsn.slot_bytes, "kprobe slot")
        if ainsn.boostable:
            self._boosted[slot] = p

    def _arm(self, p: Kprobe) -> None:
        assert p.addr is not None
        self._machine.text.poke(p.addr, self._arch.breakpoint, "kprobe arm")

    def _disarm(self, p: Kprobe) -> None:
        assert p.addr is not None
        original = p.opcode.to_bytes(len(self._arch.breakpoint), "little")
        self._machine.text.poke(p.addr, original, "kprobe disarm")
