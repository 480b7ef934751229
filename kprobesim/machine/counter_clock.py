"""The guest's clock: a counter that advances by itself, so that every run reads the same times.

Unicorn answers RDTSC and CNTVCT_EL0 with the host's clock. Here each read advances a counter by a
fixed step instead. x86-64 can hook the instruction; ARM64's counter is an ``mrs`` among thousands
of others (reading ``current`` is one), so only the words that read a counter are hooked, wherever
they are: in the image, in a slot, in code that the host writes.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.machine.clock import HiddenTime
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.watched_code import WatchedCode

__all__ = ["CounterClock", "CounterReads"]

_STEP = 1000  # ns, which is what the guest takes a unit of its counter for
_START = 1_000_000
# mrs xN of CNTPCT, CNTVCT, CNTPCTSS and CNTVCTSS_EL0: the low byte without its register number
_READS = (0x20, 0x40, 0xA0, 0xC0)
_MRS_COUNTER = b"\xe0\x3b\xd5"


class CounterClock:
    """A :class:`~kprobesim.machine.clock.GuestClock`: ``value`` counts nanoseconds.

    Each read takes a microsecond, and nothing else takes any time.
    """

    def __init__(self) -> None:
        self.value = _START

    def now(self) -> int:
        """The time in nanoseconds; changes nothing."""
        return self.value

    def spend(self, ns: int) -> None:
        """What the guest has just done takes so many nanoseconds."""
        self.value += ns

    def hasten(self, when: int) -> None:
        """Nothing: no call ends at a time of the guest's."""

    def hidden(self, engine: Engine) -> HiddenTime:
        """What keeps hits on ``engine`` out of the count that may limit a call."""
        return HiddenTime(engine)

    def read(self) -> int:
        """The counter as the guest reads it."""
        self.value += _STEP
        return self.value


class CounterReads(WatchedCode):
    """ARM64's reads of a counter, which get what ``read()`` says."""

    def __init__(self, system: System, read: Callable[[], int]) -> None:
        super().__init__(system)
        self._read = read

    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Hook the counter reads in ``code``, which was put at ``address``."""
        data = bytes(code)
        at = data.find(_MRS_COUNTER)
        while at >= 0:
            place = address + at - 1
            if at and place % 4 == 0 and data[at - 1] & ~0x1F in _READS:
                self._hook(place)
            at = data.find(_MRS_COUNTER, at + 1)

    def _install(self, place: int) -> Callable[[], object]:
        hooks = self._system.engine.hooks
        handle = hooks.on_read_counter(place, self._read)
        return lambda: hooks.unhook(handle)
