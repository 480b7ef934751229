"""How a kernel of its own would come to the handlers of probes: by what is armed around them."""

from __future__ import annotations

from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.programs.return_probe import ReturnProgramProbe
from kprobesim.trace.context import Way

__all__ = ["Ways"]


class Ways:
    """The ways to the probes of one kernel; whoever arms or disarms one calls :meth:`forget`.

    A kernel turns a breakpoint into a jump some time after it was armed; here that has always been
    done already.
    """

    def __init__(self, kprobes: KprobesManager) -> None:
        self._kprobes = kprobes
        self._sizes: dict[int, int] = {}
        self._known: dict[int, Way] = {}

    def measure(self, p: Kprobe) -> None:
        """Look at the code of ``p``, before the guest's own probes may change it."""
        if not isinstance(p, ReturnProgramProbe) and not p.flags & KprobeFlag.FTRACE:
            address = p.addr or 0
            self._sizes[address] = self._kprobes.rules.optimizable.size(address)

    def forget(self) -> None:
        """Other probes are armed now."""
        self._known.clear()

    def of(self, p: Kprobe) -> Way:
        """The way to the handler of ``p``."""
        if isinstance(p, ReturnProgramProbe):
            return Way.RETURN
        if p.flags & KprobeFlag.FTRACE:
            return Way.FTRACE
        address = p.addr or 0
        way = self._known.get(address)
        if way is None:
            way = Way.JUMP if self._can_jump(address) else Way.BREAKPOINT
            self._known[address] = way
        return way

    def _can_jump(self, address: int) -> bool:
        """``arch_check_optimized_kprobe()``: no armed probe may be on the bytes of the jump."""
        size = self._sizes.get(address, 0)
        inside = (self._kprobes.get_kprobe(address + offset) for offset in range(1, size))
        return size > 0 and all(other is None or other.disabled for other in inside)
