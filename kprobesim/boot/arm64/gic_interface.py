"""What a GICv2 has for each CPU: its interface, and the interrupts 0 to 31 (ARM IHI 0048B, 4.1.4).

Each CPU has software's interrupts (SGIs, 0 to 15) and those of its own devices (PPIs, 16 to 31) for
itself: the distributor's registers of them are banked.
"""

from __future__ import annotations

from kprobesim.boot.state import Block, Flag, Number, Numbers, Saved, Tuples, fields

__all__ = ["BANKED", "SGIS", "GicInterface"]

BANKED = 32
"""So many interrupts each CPU has for itself, the first ones."""
SGIS = 0xFFFF
_MOST_RUNNING = 96
_IDLE = 0x100  # a running priority below all others


class GicInterface(Saved):
    """One CPU's.

    Attributes:
        level: Whether the CPU is being interrupted.
        enabled: The state of interrupt n is bit n here and in the following.
        latched: Software made it pending.
        active: It was taken, and has not ended.
        lines: Its device, if it has one, raises it.
        senders: For each SGI, who has sent it: bit n is CPU n.
        priority: Of each interrupt; low ones come first.
        config: The two registers that say what is level-triggered.
        group: The register of groups.
        on: GICC_CTLR.
        mask: GICC_PMR: only priorities below it come through.
        binary_point: GICC_BPR.
        running: What was taken and has not ended, with its priority, the newest last.
    """

    SAVED = fields(
        level=Flag(),
        enabled=Number(BANKED),
        latched=Number(BANKED),
        active=Number(BANKED),
        lines=Number(BANKED),
        senders=Numbers(16, 8),
        priority=Block(BANKED),
        config=Numbers(2, 64),
        group=Number(64),
        on=Number(64),
        mask=Number(8),
        binary_point=Number(3),
        running=Tuples(_MOST_RUNNING, (10, 9)),
    )

    def __init__(self) -> None:
        self.level = False
        self.enabled = SGIS
        self.latched = self.active = self.lines = 0
        self.senders = [0] * 16
        self.priority = bytearray(BANKED)
        self.config = [0, 0]
        self.group = 0
        self.on = self.mask = self.binary_point = 0
        self.running: list[tuple[int, int]] = []

    @property
    def threshold(self) -> int:
        """Only an interrupt of a lower priority than this number may interrupt the CPU."""
        return min(self.mask, self.running[-1][1] if self.running else _IDLE)

    @property
    def waiting(self) -> int:
        """Which of its own interrupts it could take."""
        return (self.latched | self.lines) & self.enabled & ~self.active

    def pend(self, interrupt: int, senders: int) -> None:
        """These CPUs, bit n for CPU n, send the SGI ``interrupt``."""
        if senders:
            self.senders[interrupt] |= senders
            self.latched |= 1 << interrupt

    def cancel(self, interrupt: int, senders: int) -> None:
        """The SGI ``interrupt`` of these CPUs is not pending any more."""
        self.senders[interrupt] &= ~senders
        if not self.senders[interrupt]:
            self.latched &= ~(1 << interrupt)

    def next_sender(self, interrupt: int) -> int:
        """Whose SGI comes next; 0 for what is none."""
        senders = self.senders[interrupt] if interrupt < len(self.senders) else 0
        return max(0, (senders & -senders).bit_length() - 1)

    def take(self, interrupt: int, sender: int) -> None:
        """One of its own is acknowledged."""
        if interrupt < len(self.senders):
            self.cancel(interrupt, 1 << sender)
        else:
            self.latched &= ~(1 << interrupt)
        self.active |= 1 << interrupt
        self.running.append((interrupt, self.priority[interrupt]))

    def drop(self, interrupt: int) -> None:
        """GICC_EOIR: the priority of ``interrupt`` is no longer the running one."""
        if any(running == interrupt for running, _ in self.running):
            while self.running.pop()[0] != interrupt:
                pass
