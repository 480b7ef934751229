"""Where probes are hooks: what the paths of all CPUs look up at a hit, and arming keeps."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.arch_kprobes import ArchInsn
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["UNKNOWN", "HookedPlaces"]

UNKNOWN = slice(0, 0), b"?"
"""No place's code: nothing that memory holds equals it."""


class HookedPlaces:
    """All by the probe's address.

    Attributes:
        armed: Those whose instructions are hooked.
        ends: Where the instruction behind is hooked, too, and comes next.
        code: Where the instruction is in RAM, if that never changes, and its bytes when it was last
            analysed.
        refresh: Gives how to execute what is there now; ``None``: it just runs, and nobody hears
            of its end.
        hear_end: Hooks the instruction behind, if it always comes next; from the next hit on.
    """

    def __init__(self) -> None:
        self.armed: set[int] = set()
        self.ends: dict[int, int] = {}
        self.code: dict[int, tuple[slice, bytes]] = {}
        self.refresh: Callable[[Kprobe], ArchInsn | None] = lambda p: p.ainsn
        self.hear_end: Callable[[Kprobe, ArchInsn], None] = lambda p, ainsn: None
