"""The instructions that read a counter, done by the host's machine code: no Python is on the way.

A kernel reads its counter tens of thousands of times while it boots, which took Python a twelfth of
the time on x86-64. Where time is counted in blocks it lies in two words and the engine's counter
(:mod:`kprobesim.machine.stopwatch`), and reading it is a few instructions: time goes on by what
reading takes, and the limit of the run, which stands for a time, comes closer by as much.
"""

from __future__ import annotations

import ctypes
from functools import cache

from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.clock_code import CODE, DATA, NO_WORD
from kprobesim.machine.unicorn.host_code import put_functions
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["WORD_OF", "ClockReads", "clock_reads"]

_MOST_REGISTERS = 512

WORD_OF = {
    **{numbers.UC_ARM64_REG_X0 + n: n for n in range(29)},
    numbers.UC_ARM64_REG_X29: 29,
    numbers.UC_ARM64_REG_X30: 30,
}
"""The word of an ARM64 register by Unicorn's number; XZR has none."""


class ClockReads:
    """What Unicorn calls for these instructions of one engine.

    Attributes:
        rdtsc: The address of what is called for RDTSC (x86-64): gives nanoseconds.
        rdtscp: The same for RDTSCP; the number of the CPU is 0.
        mrs: The same for an MRS of a counter (ARM64): gives ticks.
        data: What each is given as its user data.
    """

    def __init__(self, labels: dict[str, int], values: dict[str, int], keep: object) -> None:
        """Call the code at ``labels`` with ``values``; ``keep`` is what those point at."""
        self.rdtsc, self.rdtscp, self.mrs = (labels[name] for name in ("rdtsc", "rdtscp", "mrs"))
        self._words = (ctypes.c_uint64 * len(DATA))(*(values[name] for name in DATA))
        self._keep = keep
        self.data = ctypes.addressof(self._words)


def clock_reads(
    registers: Words, counter: Words, time: Words, *, read_ns: int, block_ns: int, tick_ns: int
) -> ClockReads | None:
    """The instructions of an engine; ``None`` on a kind of host that there is no code for.

    Args:
        registers: The engine's.
        counter: Its counter, and behind it the limit.
        time: The two words of the time.
        read_ns: How long reading takes.
        block_ns: How long a block takes, which is what the counter counts.
        tick_ns: How long a tick of ARM64's counter takes; a power of two.
    """
    labels = _functions()
    if labels is None:
        return None
    numbers = _numbers()
    values = {
        "time": ctypes.addressof(time),
        "counter": ctypes.addressof(counter),
        "registers": ctypes.addressof(registers),
        "read_ns": read_ns,
        "read_counts": read_ns // block_ns,
        "word_of": ctypes.addressof(numbers),
        "shift": tick_ns.bit_length() - 1,
    }
    return ClockReads(labels, values, (registers, counter, time, numbers))


@cache
def _functions() -> dict[str, int] | None:
    """Where each function is."""
    return put_functions(CODE)


@cache
def _numbers() -> ctypes.Array[ctypes.c_uint8]:
    numbers = (ctypes.c_uint8 * _MOST_REGISTERS)(*([NO_WORD] * _MOST_REGISTERS))
    for register, word in WORD_OF.items():
        numbers[register] = word
    return numbers
