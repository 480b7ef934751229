"""Hooks of the emulator: no byte of the guest changes, and the instruction runs in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kprobesim.arch.refused import Refused
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.table import members
from kprobesim.machine.code_watch import PROBES, UnguardedArrival, Watch
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.native import Native

__all__ = ["HookArming"]


class HookArming:
    """Without a trace: ``hit`` is called before the instruction, which runs in place.

    A booting kernel patches its own code, so what is under a hook may change: :meth:`refresh`
    analyses it anew. Before the guest has page tables its code is that of the ``image``.
    """

    def __init__(
        self,
        machine: System,
        image: KernelImage,
        arch: ArchKprobes,
        hit: UnguardedArrival,
    ) -> None:
        self._machine = machine
        self._read_now = machine.memory.read
        self._image = image
        self._arch = arch
        self._hit = hit
        self._armed: dict[int, tuple[tuple[Native, ...], list[Watch]]] = {}
        self._prepared: dict[int, tuple[Site, bytes]] = {}
        self.read_original: Callable[[int, int], bytes] = self.read
        """Guest code without the breakpoints of other probes, if there are any."""

    def __len__(self) -> int:
        """How many addresses are armed."""
        return len(self._armed)

    def prepare(self, p: Kprobe, site: Site) -> ArchInsn:
        """The instruction's own place serves as its slot; nothing is written.

        Also ftrace's, which the guest's own ftrace may be using.
        """
        site = replace(site, ftrace=False)
        ainsn = self._arch.prepare(site, self.read_original, self.read_original, site.address)
        self._prepared[site.address] = site, self.read_original(site.address, ainsn.size)
        return ainsn

    def prepared(self, address: int) -> tuple[Site, bytes] | None:
        """What was found and read at ``address`` when it was last analysed."""
        return self._prepared.get(address)

    def adopt(self, site: Site, code: bytes) -> ArchInsn:
        """As :meth:`prepare`, for the ``code`` that was once there: it may have gone meanwhile.

        Raises ``Refused`` for code on which no probe can have been.
        """

        def read(address: int, size: int) -> bytes:
            return (code if address == site.address else b"")[:size].ljust(size, b"\0")

        # Whether an instruction begins here was checked when there was more than it to be seen.
        alone = replace(site, symbol_start=site.address)
        ainsn = self._arch.prepare(alone, read, read, site.address)
        self._prepared[site.address] = site, code
        return ainsn

    def refresh(self, p: Kprobe) -> ArchInsn | None:
        """How to execute the instruction that is there now.

        ``None``: it just runs, and no handler hears of its end. It is a breakpoint of the guest's,
        which executes what it has put it on; or the guest has written one that nobody can probe;
        or the probe's own handler has taken it out.
        """
        address = p.addr or 0
        prepared = self._prepared.get(address)
        if prepared is None:
            return None
        site, code = prepared
        if self._read_now(address, len(code)) != code:
            now = self.read_original(address, len(code))
            if now.startswith(self._arch.isa.breakpoint):
                return None
            try:
                p.ainsn = self.prepare(p, site)
            except Refused:
                return None
        ainsn: ArchInsn = p.ainsn
        return ainsn

    def arm(self, p: Kprobe) -> None:
        """Watch the address: by compiled functions, if those are all that is to be called."""
        address, natives = p.addr or 0, _natives(p)
        if address in self._armed:
            if self._armed[address][0] == natives:
                return
            self.disarm(p)
        watch = self._machine.code_watch
        watches = [watch.watch_native(address, native, PROBES) for native in natives] or [
            watch.watch_unguarded(address, self._hit, PROBES)
        ]
        self._armed[address] = natives, watches

    def members_changed(self, head: Kprobe) -> None:
        """Watch for those who are to be called now, if the address is watched."""
        if (head.addr or 0) in self._armed:
            self.arm(head)

    def disarm(self, p: Kprobe) -> None:
        """Watch it no longer."""
        _, watches = self._armed.pop(p.addr or 0, ((), ()))
        for watch in watches:
            self._machine.code_watch.unwatch(watch)

    def release(self, p: Kprobe) -> None:
        """There is no slot."""
        self._prepared.pop(p.addr or 0, None)

    def abandon(self, p: Kprobe) -> None:
        """Whatever comes to that address is not hooked."""
        self.disarm(p)
        self.release(p)

    def read(self, address: int, size: int) -> bytes:
        """Guest code, which no hook has changed."""
        try:
            return self._machine.memory.read(address, size)
        except GuestMemoryError:
            if not self._image.contains(address) or not self._image.contains(address + size - 1):
                raise
            return self._image.read(address, size)


def _natives(head: Kprobe) -> tuple[Native, ...]:
    """The compiled functions of the probes behind ``head``; none if one of them has other needs."""
    enabled = [p for p in members(head) if not p.disabled]
    natives = [p.native for p in enabled if p.native is not None]
    plain = len(natives) == len(enabled) and not any(
        p.post_handler is not None or p.fault_handler is not None for p in enabled
    )
    return tuple(natives) if plain else ()
