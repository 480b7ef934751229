"""The architected timer: its registers, which trap, and the instructions that read its counter.

Unicorn has the counter of the host and no timer. CNTHCTL_EL2 = 0 makes every CNTP_* register and
CNTPCT_EL0 trap. CNTVCT_EL0 cannot be trapped at EL1 before ARMv8.6, so the few instructions in the
image that read it are hooked; at EL0 (vDSO) it traps while CNTKCTL_EL1 says so, so the guest's
accesses to that register are hooked, too, and the CPU's own copy stays 0.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

from kprobesim.boot.board_clock import BoardClock
from kprobesim.boot.state import Number, Saved, fields
from kprobesim.machine.unicorn.clock_reads import ClockReads
from kprobesim.sizes import MASK64

__all__ = ["FREQUENCY", "Timer", "find_instructions"]

FREQUENCY = 62_500_000  # Hz: what Unicorn's CNTFRQ_EL0 says
_TICK_NS = 1_000_000_000 // FREQUENCY
_ENABLE, _MASKED, _MET = 1, 2, 4
_WORD = 0xFFFF_FFFF

# (op0, op1, CRn, CRm, op2) as in the syndrome of a trapped access
_CNTFRQ = (3, 3, 14, 0, 0)
_CNTPCT = (3, 3, 14, 0, 1)
_CNTVCT = (3, 3, 14, 0, 2)
_CNTP_TVAL, _CNTP_CTL, _CNTP_CVAL = (3, 3, 14, 2, 0), (3, 3, 14, 2, 1), (3, 3, 14, 2, 2)
_USER_BITS: dict[tuple[int, ...], int] = {
    _CNTFRQ: 3,
    _CNTPCT: 1,
    _CNTVCT: 2,
    _CNTP_TVAL: 512,
    _CNTP_CTL: 512,
    _CNTP_CVAL: 512,
}


class Timer(Saved):
    """``changed`` is called when the guest has set the timer: the run may have to end earlier."""

    SAVED = fields(_control=Number(2), _compare=Number(64), user_control=Number(64))

    def __init__(self, clock: BoardClock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._control = 0
        self._compare = 0
        self.user_control = 0
        """CNTKCTL_EL1 as the guest believes it to be."""

    def reset(self) -> None:
        """Be as when its CPU is switched on."""
        self._control = self._compare = self.user_control = 0

    def count(self) -> int:
        """The counter, as an instruction reads it."""
        return self._clock.read() // _TICK_NS

    def native_reads(self) -> ClockReads | None:
        """How an instruction does what :meth:`count` does, without Python, if it can."""
        return self._clock.native_reads(_TICK_NS)

    @property
    def asserted(self) -> bool:
        """Whether the timer interrupts now."""
        return self._control & 3 == _ENABLE and self._met()

    @property
    def next_event(self) -> int | None:
        """When it will interrupt, in virtual nanoseconds."""
        if self._control & 3 != _ENABLE or self._met():
            return None
        return self._compare * _TICK_NS

    def _met(self) -> bool:
        return self._clock.now() // _TICK_NS >= self._compare

    def allows(self, register: tuple[int, ...], user: bool) -> bool:
        """Whether ``register`` is the timer's, and a program may use it if it is the ``user``."""
        bits = _USER_BITS.get(register)
        return bits is not None and (not user or bool(self.user_control & bits))

    def read(self, register: tuple[int, ...]) -> int:
        """A register that trapped."""
        if register == _CNTP_CTL:
            met = self._control & _ENABLE and self._met()
            return self._control | _MET if met else self._control
        if register == _CNTP_CVAL:
            return self._compare
        if register == _CNTP_TVAL:
            return self._compare - self.count() & _WORD
        return FREQUENCY if register == _CNTFRQ else self.count()

    def write(self, register: tuple[int, ...], value: int) -> None:
        """Write a register that trapped; the counters cannot be written."""
        if register == _CNTP_CTL:
            self._control = value & 3
        elif register == _CNTP_CVAL:
            self._compare = value
        elif register == _CNTP_TVAL:
            offset = value & _WORD
            offset -= (offset & 0x8000_0000) << 1
            self._compare = self._clock.now() // _TICK_NS + offset & MASK64
        self._changed()


def find_instructions(
    code: bytes | bytearray | mmap.mmap, tail: bytes, low: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """(offset, register number) of each aligned word that ends in ``tail``, three bytes.

    Its first byte, without the register number in its low five bits, is in ``low``.
    """
    at = code.find(tail)
    while at >= 0:
        if at % 4 == 1 and code[at - 1] & 0xE0 in low:
            yield at - 1, code[at - 1] & 0x1F
        at = code.find(tail, at + 1)
