"""How a probe gets the CPU to stop: what each way of arming does, and which ways there are.

The kernel writes ``INT3`` or ``BRK #4`` and runs a copy of the instruction in a slot
(:mod:`~kprobesim.kprobes.arming.breakpoint`), which may become a jump
(:mod:`~kprobesim.kprobes.arming.jump`). A guest that reads its own code notices: while it boots,
ftrace, alternatives and jump labels all check what they patch. A hook changes no byte, needs no
slot, and the instruction runs in its place (:mod:`~kprobesim.kprobes.arming.hook`).
"""

from __future__ import annotations

from typing import Literal, Protocol

from kprobesim.kprobes.arch_kprobes import ArchInsn
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.site import Site

__all__ = ["Arming", "HowToArm", "KernelArming"]

HowToArm = Literal["breakpoint", "hook"]
"""How the probes of a guest are armed that do not ask for another way."""
KernelArming = Literal["auto", "breakpoint", "hook"]
"""What is asked of a kernel whose functions are called.

"auto": hooks, unless the kernel's own way is asked for, which only breakpoints show: by the model
of a certain kernel, by a way of stepping, or strictly. "breakpoint": these, of which the kernel's
optimizer makes jumps. "hook": always hooks.
"""


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
