"""``Guest``: where a program finds what it reads, as addresses of the host's.

Compiled code has them baked in, so they stay as they are for the guest's life.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from kprobesim.inside.tasks import Tasks
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.control_words import control_words

__all__ = ["Guest", "guest_of"]


@dataclass(frozen=True)
class Guest:
    """A guest as compiled code sees it.

    Attributes:
        arch: "x86_64" or "arm64".
        busy: The word that is not 0 while guest code runs for a probe that is being handled.
        window: The first of its general registers, live 64-bit words.
        control: Registers of the system by name, live words, too
            (:mod:`~kprobesim.machine.unicorn.control_words`).
        ram: Its RAM.
        ram_base: The physical address that this is for the guest.
        ram_size: Bytes of it.
        time: The two words of its stopwatch and the engine's counter
            (:mod:`~kprobesim.machine.stopwatch`); ``None``: the host's clock makes its time.
        cpu: The number of the CPU.
        tasks: Where its tasks are, and how they look.
    """

    arch: str
    busy: int
    window: int
    control: Mapping[str, int]
    ram: int
    ram_base: int
    ram_size: int
    time: tuple[int, int, int] | None
    cpu: int
    tasks: Tasks


def guest_of(machine: System, tasks: Tasks) -> Guest:
    """What is to be known of ``machine``, whose tasks are those of ``tasks``."""
    memory, words = machine.memory, machine.stopwatch.words
    base = 0 if words is None else ctypes.addressof(words)
    counter = ctypes.addressof(machine.engine.counter_words)
    return Guest(
        arch=machine.arch,
        busy=ctypes.addressof(machine.vcpu.busy),
        window=ctypes.addressof(machine.words),
        control={
            name: ctypes.addressof(word) for name, word in control_words(machine.engine).items()
        },
        ram=memory.host_address,
        ram_base=memory.base,
        ram_size=memory.size,
        time=(base, base + 8, counter) if base else None,
        cpu=machine.vcpu.number,
        tasks=tasks,
    )
