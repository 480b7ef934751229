"""Breakpoints in guest memory, and copies of the instructions that they replace in slots."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.arming.slots import SlotCache
from kprobesim.kprobes.copies import OutOfLineCopies
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.site import Site
from kprobesim.machine.system import System

__all__ = ["BreakpointArming"]

_WIDEST = 5  # bytes that a probe replaces: an x86-64 jump


class BreakpointArming:
    """The kernel's way. ``idle()`` says that no probe is being handled: no slot is in use.

    ``is_used(slot)`` says whether a CPU handles the probe whose copy is there. ``read(address,
    size)`` gives what is in memory.
    """

    def __init__(
        self,
        machine: System,
        arch: ArchKprobes,
        slots: SlotCache,
        copies: OutOfLineCopies,
        idle: Callable[[], bool],
        is_used: Callable[[int], bool],
        read: Callable[[int, int], bytes],
    ) -> None:
        self._machine = machine
        self._arch = arch
        self._slots = slots
        self._copies = copies
        self._idle, self._is_used = idle, is_used
        self._read = read
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
                self._copies.add(slot, site.address)
        return ainsn

    def arm(self, p: Kprobe) -> None:
        """Write the breakpoint."""
        address = p.addr or 0
        if address in self._armed:
            return
        self._armed[address] = self._machine.memory.read(address, len(self._arch.isa.breakpoint))
        self._machine.text.poke(address, self._arch.isa.breakpoint, "kprobe arm")
        self._sync()

    def disarm(self, p: Kprobe) -> None:
        """Write back what the breakpoint replaced, unless the guest has written there itself."""
        address, breakpoint = p.addr or 0, self._arch.isa.breakpoint
        original = self._armed.pop(address, None)
        if original is not None and self._read(address, len(breakpoint)) == breakpoint:
            self._machine.text.poke(address, original, "kprobe disarm")
            self._sync()

    def _sync(self) -> None:
        """Code has changed: wait until other CPUs take an interrupt, where the kernel does."""
        if self._arch.syncs:
            self._machine.sync_cpus()

    def jump(self, address: int, jump: bytes) -> None:
        """Write ``jump`` over the breakpoint (``arch_optimize_kprobes()``)."""
        self._armed[address] = self.read_original(address, len(jump))
        self._machine.text.poke(address, jump, "kprobe optimize")

    def jump_tail(self, address: int, jump: bytes) -> None:
        """Write what is behind the breakpoint of ``jump``."""
        self._armed[address] = self.read_original(address, len(jump))
        width = len(self._arch.isa.breakpoint)
        self._machine.text.poke(address + width, jump[width:], "kprobe optimize")

    def jump_head(self, address: int, jump: bytes) -> None:
        """And then what replaces the breakpoint."""
        width = len(self._arch.isa.breakpoint)
        self._machine.text.poke(address, jump[:width], "kprobe optimize")

    def unjump(self, address: int) -> None:
        """Make the jump a breakpoint again (``arch_unoptimize_kprobe()``)."""
        original = self._armed[address]
        width = len(self._arch.isa.breakpoint)
        text = self._machine.text
        text.poke(address, self._arch.isa.breakpoint, "kprobe unoptimize")
        self._sync()
        text.poke(address + width, original[width:], "kprobe unoptimize")
        self._sync()
        self._armed[address] = original[:width]

    def release(self, p: Kprobe) -> None:
        """Free the slot; the CPU may still be on its way through it.

        In the kernel if it was boosted; here also if its own handler asks, for which nobody waits.
        """
        slot = p.ainsn.insn
        if slot is not None:
            self._copies.drop(slot)
            dirty = p.ainsn.boostable or self._is_used(slot)
            self._slots.free(slot, dirty=dirty, collect=self._idle())

    def abandon(self, p: Kprobe) -> None:
        """What was a breakpoint is nobody's now."""
        self._armed.pop(p.addr or 0, None)
        self.release(p)

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code with breakpoints and jumps taken out."""
        if not self._armed:
            return self._read(address, size)
        code = bytearray(self._read(address, size))
        for probed in range(address - _WIDEST + 1, address + size):
            original = self._armed.get(probed)
            if original is not None:
                end = min(probed + len(original), address + size)
                for index in range(max(probed, address), end):
                    code[index - address] = original[index - probed]
        return bytes(code)
