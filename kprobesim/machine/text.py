"""Writing to guest code: one way in, a record of who poked what, translated code kept coherent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.memory import HostAccess

__all__ = ["KernelText", "TextPoke"]


@dataclass(frozen=True, repr=False)
class TextPoke(HexRepr):
    """One change of guest code, the counterpart of ``perf_event_text_poke``.

    ``number`` counts from 1; ``old`` and ``new`` are the bytes at ``address``; ``who`` names the
    part that did it ("kprobe arm", "kprobe slot", "ftrace", "host" ...).
    """

    number: int
    address: int
    old: bytes
    new: bytes
    who: str


class KernelText:
    """The guest's code as something that is written on purpose only.

    The newest 65,536 pokes are kept in :attr:`log`; ``listeners`` hear of each one.
    """

    def __init__(self, memory: HostAccess) -> None:
        self._memory = memory
        self._number = 0
        self.log: deque[TextPoke] = deque(maxlen=1 << 16)
        self.listeners: list[Callable[[TextPoke], None]] = []

    def poke(self, address: int, new: bytes, who: str) -> None:
        """Write ``new`` at ``address``; what was translated from there is dropped."""
        old = self._memory.read(address, len(new))
        self._memory.write(address, new)
        self._number += 1
        poke = TextPoke(self._number, address, old, new, who)
        self.log.append(poke)
        for listener in self.listeners:
            listener(poke)

    @property
    def pokes(self) -> int:
        """How many there have been."""
        return self._number

    def is_code(self, address: int) -> bool:
        """Whether ``address`` lies in executable memory."""
        return self._memory.is_executable(address)
