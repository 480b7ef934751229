"""Which of a called guest's instructions are done here instead of by Unicorn."""

from __future__ import annotations

from kprobesim.arch.architecture import halves
from kprobesim.machine.bit_instructions import BitInstructions
from kprobesim.machine.counter_clock import CounterClock, CounterReads
from kprobesim.machine.memory import GuestMemory
from kprobesim.machine.randomness import Randomness
from kprobesim.machine.system import System
from kprobesim.machine.watched_code import WatchedCode

__all__ = ["own_instructions"]


def own_instructions(
    machine: System, memory: GuestMemory, clock: CounterClock
) -> tuple[WatchedCode, ...]:
    """Let ``machine`` read the time from ``clock``; who must be shown all code that it runs."""
    return _HALVES[machine.arch](machine, memory, clock)


def _x86_64(machine: System, memory: GuestMemory, clock: CounterClock) -> tuple[WatchedCode, ...]:
    machine.engine.hooks.on_read_tsc(clock.read)
    return Randomness(machine), BitInstructions(machine, memory)


def _arm64(machine: System, _memory: GuestMemory, clock: CounterClock) -> tuple[WatchedCode, ...]:
    return (CounterReads(machine, clock.read),)


_HALVES = halves(x86_64=_x86_64, arm64=_arm64)
