"""How a probe gets the CPU to stop: a breakpoint in guest memory, or a hook that leaves no trace.

The kernel writes ``INT3`` or ``BRK #4`` and runs a copy of the instruction in a slot. A guest that
reads its own code notices: while it boots, ftrace, alternatives and jump labels all check what they
patch. A hook changes no byte, needs no slot, and the instruction runs in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.arming.slots import SlotCache
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.site import Site
from kprobesim.machine.code_watch import PROBES, Arrival, Watch
from kprobesim.machine.guest import Guest

__all__ = ["Arming", "BreakpointArming", "HookArming", "HowToArm"]

HowToArm = Literal["breakpoint", "hook"]
_WIDEST = 5  # bytes that a probe replaces: an x86-64 jump


class Arming(Protocol):
    """One way to arm probes."""

    def prepare(self, p: Kprobe, site: Site) -> ArchInsn:
        """Analyse the instruction at ``site``; raises ``Refused``, and then nothing has changed."""

    def arm(self, p: Kprobe) -> None:
        """From now on the CPU stops at ``p``, if it did not already."""

    def disarm(self, p: Kprobe) -> None:
        """And now no longer. Nothing happens if it does not."""

    def release(self, p: Kprobe) -> None:
        """Give back what :meth:`prepare` took."""

    def abandon(self, p: Kprobe) -> None:
        """The code has gone: forget ``p`` and touch nothing there."""

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code as it is without probes."""


class BreakpointArming:
    """The kernel's way. ``idle()`` says that no probe is being handled: no slot is in use."""

    def __init__(
        self,
        machine: Guest,
        arch: ArchKprobes,
        slots: SlotCache,
        copies: dict[int, int],
        idle: Callable[[], bool],
    ) -> None:
        self._machine = machine
        self._arch = arch
        self._slots = slots
        self._copies = copies
        self._idle = idle
        self._armed: dict[int, bytes] = {}

    def prepare(self, p: Kprobe, site: Site) -> ArchInsn:
        """Copy the instruction into a slot, if it needs one."""
        machine, slots = self._machine, self._slots
        slot = slots.get(collect=self._idle())
        try:
            ainsn = self._arch.prepare(site, self.read_original, machine.memory.read, slot)
        except BaseException:
            slots.free(slot, dirty=False)
            raise
        if ainsn.insn is None:
            slots.free(slot, dirty=False)
        else:
            machine.text.poke(slot, ainsn.slot_bytes, "kprobe slot")
            if ainsn.boostable:
                self._copies[slot] = site.address
        return ainsn

    def arm(self, p: Kprobe) -> None:
        """Write the breakpoint."""
        address = p.addr or 0
        if address in self._armed:
            return
        self._armed[address] = self._machine.memory.read(address, len(self._arch.breakpoint))
        self._machine.text.poke(address, self._arch.breakpoint, "kprobe arm")

    def disarm(self, p: Kprobe) -> None:
        """Write back what the breakpoint replaced."""
        address = p.addr or 0
        original = self._armed.pop(address, None)
        if original is not None:
            self._machine.text.poke(address, original, "kprobe disarm")

    def jump(self, address: int, jump: bytes) -> None:
        """Write ``jump`` over the breakpoint (``arch_optimize_kprobes()``)."""
        self._armed[address] = self.read_original(address, len(jump))
        self._machine.text.poke(address, jump, "kprobe optimize")

    def unjump(self, address: int) -> None:
        """Make the jump a breakpoint again (``arch_unoptimize_kprobe()``)."""
        original = self._armed[address]
        width = len(self._arch.breakpoint)
        text = self._machine.text
        text.poke(address, self._arch.breakpoint, "kprobe unoptimize")
        text.poke(address + width, original[width:], "kprobe unoptimize")
        self._armed[address] = original[:width]

    def release(self, p: Kprobe) -> None:
        """Free the slot; the CPU may still be on its way through it.

        In the kernel if it was boosted; here also if a handler asks, for which nobody waits.
        """
        slot = p.ainsn.insn
        if slot is not None:
            self._copies.pop(slot, None)
            idle = self._idle()
            self._slots.free(slot, dirty=p.ainsn.boostable or not idle, collect=idle)

    def abandon(self, p: Kprobe) -> None:
        """What was a breakpoint is nobody's now."""
        self._armed.pop(p.addr or 0, None)
        self.release(p)

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code with breakpoints and jumps taken out."""
        code = bytearray(self._machine.memory.read(address, size))
        for probed in range(address - _WIDEST + 1, address + size):
            original = self._armed.get(probed)
            if original is not None:
                end = min(probed + len(original), address + size)
                for index in range(max(probed, address), end):
                    code[index - address] = original[index - probed]
        return bytes(code)


class HookArming:
    """Without a trace: ``hit`` is called before the instruction, which runs in place.

    A booting kernel patches its own code, so what is under a hook may change: :meth:`refresh`
    analyses it anew. Before the guest has page tables its code is that of the ``image``.
    """

    def __init__(
        self,
        machine: Guest,
        image: KernelImage,
        arch: ArchKprobes,
        hit: Arrival,
    ) -> None:
        self._machine = machine
        self._image = image
        self._arch = arch
        self._hit = hit
        self._armed: dict[int, Watch] = {}
        self._prepared: dict[int, tuple[Site, bytes]] = {}

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
        """How to execute the instruction that is there now; raises ``Refused``.

        ``None``: it is a breakpoint of the guest's, which executes what it has put it on.
        """
        address = p.addr or 0
        site, code = self._prepared[address]
        now = self._machine.memory.read(address, len(code))
        if now != code:
            if now.startswith(self._arch.breakpoint):
                return None
            p.ainsn = self.prepare(p, site)
        ainsn: ArchInsn = p.ainsn
        return ainsn

    def arm(self, p: Kprobe) -> None:
        """Watch the address."""
        address = p.addr or 0
        if address not in self._armed:
            self._armed[address] = self._machine.code_watch.watch(address, self._hit, PROBES)

    def disarm(self, p: Kprobe) -> None:
        """Watch it no longer."""
        watch = self._armed.pop(p.addr or 0, None)
        if watch is not None:
            self._machine.code_watch.unwatch(watch)

    def release(self, p: Kprobe) -> None:
        """There is no slot."""
        self._prepared.pop(p.addr or 0, None)

    def abandon(self, p: Kprobe) -> None:
        """Whatever comes to that address is not hooked."""
        self.disarm(p)
        self.release(p)

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code, which no probe has changed."""
        try:
            return self._machine.memory.read(address, size)
        except GuestMemoryError:
            if not self._image.contains(address) or not self._image.contains(address + size - 1):
                raise
            return self._image.read(address, size)
