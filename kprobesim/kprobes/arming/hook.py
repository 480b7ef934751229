"""Hooks of the emulator: no byte of the guest changes, and the instruction runs in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kprobesim.arch.refused import Refused
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.events import HitListeners
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.hooked import HookedPlaces
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.table import members
from kprobesim.machine.code_watch import PROBES, STEPS, UnguardedArrival, Watch
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.native import Native

__all__ = ["HookArming"]

_LONGEST = 15
"""Bytes of an instruction, with which all that is asked of it can be answered."""


def _reading_once(read: Callable[[int, int], bytes], place: int) -> Callable[[int, int], bytes]:
    """``read``, which is asked once for the instruction at ``place``: each time takes some us."""
    try:
        code = read(place, _LONGEST)
    except GuestMemoryError:  # the last one of what is mapped
        return read

    def read_kept(address: int, size: int) -> bytes:
        offset = address - place
        if offset >= 0 and offset + size <= len(code):
            return code[offset : offset + size]
        return read(address, size)

    return read_kept


class HookArming:
    """Without a trace: a hook is called before the instruction, which runs in place.

    A booting kernel patches its own code, so what is under a hook may change: :meth:`refresh`
    analyses it anew. Before the guest has page tables its code is that of the ``image``.

    Where a handler waits for the instruction's end, the one behind it is hooked too, if that
    always comes next. Else the CPU steps.
    """

    def __init__(
        self,
        machine: System,
        image: KernelImage,
        arch: ArchKprobes,
        hooked: HookedPlaces,
        listeners: HitListeners,
        paths: PerCpu[HitPath],
    ) -> None:
        """Arm nothing yet.

        Args:
            machine: The guest.
            image: Its kernel.
            arch: The architecture's half.
            hooked: What is known of the places, for the paths of a hit.
            listeners: While there are any, they hear of all hits, and Python takes them.
            paths: Of them come the functions that hooks call: before a probed instruction, before
                one that comes to itself until it is done, and behind it.
        """
        self._machine = machine
        self._read_now = machine.memory.read
        self._image = image
        self._arch = arch
        self._paths = paths
        self._hit, self._hit_repeating, self._behind = self._functions()
        paths.on_new(lambda _path: self._call_anew())
        self._hooked = hooked
        self._listeners = listeners.callbacks
        hooked.refresh, hooked.hear_end = self.refresh, self.hear_end
        self._watches: dict[int, tuple[tuple[Native, ...], list[Watch]]] = {}
        self._end_watches: dict[int, Watch] = {}
        self._prepared: dict[int, tuple[Site, bytes]] = {}
        self.read_original: Callable[[int, int], bytes] = self.read
        """Guest code without the breakpoints of other probes, if there are any."""

    def _functions(self) -> tuple[UnguardedArrival, ...]:
        paths = self._paths
        return (
            paths.call(lambda path: path.hooks.hit),
            paths.call(lambda path: path.hooks.hit_repeating),
            paths.call(lambda path: path.hooks.behind),
        )

    def _call_anew(self) -> None:
        """There is one CPU more: let the hooks that there are call the paths of all."""
        old = self._hit, self._hit_repeating, self._behind
        new = self._hit, self._hit_repeating, self._behind = self._functions()
        there = [watch for _, watches in self._watches.values() for watch in watches]
        for watch in (*there, *self._end_watches.values()):
            if watch.arrived in old:
                self._machine.code_watch.call_instead(watch, new[old.index(watch.arrived)])

    def __len__(self) -> int:
        """How many addresses are armed."""
        return len(self._watches)

    def prepare(self, p: Kprobe, site: Site) -> ArchInsn:
        """The instruction's own place serves as its slot; nothing is written.

        Also ftrace's, which the guest's own ftrace may be using.
        """
        if site.ftrace:
            site = replace(site, ftrace=False)
        read = _reading_once(self.read_original, site.address)
        ainsn = self._arch.prepare(site, read, read, site.address)
        self._prepared[site.address] = site, read(site.address, ainsn.size)
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
            self._hooked.code.pop(address, None)
            now = self.read_original(address, len(code))
            if now.startswith(self._arch.isa.breakpoint):
                return None
            try:
                p.ainsn = self.prepare(p, site)
            except Refused:
                return None
        elif self._image.contains(address) and address not in self._hooked.code:
            place = self._machine.memory.place(address, len(code))
            if place is not None:  # the kernel's own text stays where it is
                self._hooked.code[address] = place, code
        ainsn: ArchInsn = p.ainsn
        return ainsn

    def arm(self, p: Kprobe) -> None:
        """Watch the address: by compiled functions, if those are all that is to be called."""
        address, natives = p.addr or 0, self._natives(p)
        if address in self._watches and self._watches[address][0] != natives:
            self.disarm(p)
        if address not in self._watches:
            watch = self._machine.code_watch
            hit = self._hit_repeating if p.ainsn.repeats else self._hit
            watches = [watch.watch_native(address, native, PROBES) for native in natives] or [
                watch.watch_unguarded(address, hit, PROBES)
            ]
            self._watches[address] = natives, watches
            self._hooked.armed.add(address)
        if p.post_handler is not None:
            self.hear_end(p, p.ainsn)

    def _natives(self, head: Kprobe) -> tuple[Native, ...]:
        """The compiled functions of the probes behind ``head``; none if Python must be called."""
        if self._listeners or head.ainsn.repeats:
            return ()
        enabled = [p for p in members(head) if not p.disabled]
        natives = [p.native for p in enabled if p.native is not None]
        plain = len(natives) == len(enabled) and not any(
            p.post_handler is not None or p.fault_handler is not None for p in enabled
        )
        return tuple(natives) if plain else ()

    def members_changed(self, head: Kprobe) -> None:
        """Watch for those who are to be called now, if the address is watched."""
        if (head.addr or 0) in self._watches:
            self.arm(head)

    def hear_end(self, p: Kprobe, ainsn: ArchInsn) -> None:
        """Let ``behind`` be called when the instruction is done, if the next one then comes.

        From the next time on: blocks that run now were translated without it.
        """
        address, ends = p.addr or 0, self._hooked.ends
        end = address + ainsn.size
        if not ainsn.falls_through or address not in self._watches or ends.get(address) == end:
            return
        self._forget_end(address)
        watch = self._machine.code_watch.watch_unguarded(end, self._behind, STEPS)
        self._end_watches[address], ends[address] = watch, end
        engine = self._machine.engine
        if engine.running:
            engine.code_pages.written = True

    def _forget_end(self, address: int) -> None:
        if self._hooked.ends.pop(address, None) is not None:
            self._machine.code_watch.unwatch(self._end_watches.pop(address))

    def disarm(self, p: Kprobe) -> None:
        """Watch it no longer."""
        address = p.addr or 0
        _, watches = self._watches.pop(address, ((), ()))
        self._hooked.armed.discard(address)
        for watch in watches:
            self._machine.code_watch.unwatch(watch)
        self._forget_end(address)

    def release(self, p: Kprobe) -> None:
        """There is no slot."""
        self._prepared.pop(p.addr or 0, None)
        self._hooked.code.pop(p.addr or 0, None)

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
