"""``Guest``: where a program finds what it reads, as addresses of the host's.

Compiled code has them baked in, so they stay as they are for the guest's life.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from kprobesim.machine.system import System
from kprobesim.machine.unicorn.control_words import control_words

__all__ = ["Guest", "guest_of"]


@dataclass(frozen=True)
class Guest:
    """A guest as compiled code sees it.

    Attributes:
        arch: "x86_64" or "arm64".
        window: The first of its general registers, live 64-bit words.
        control: Registers of the system by name, live words, too
            (:mod:`~kprobesim.machine.unicorn.control_words`).
        ram: Its RAM.
        ram_base: The physical address that this is for the guest.
        ram_size: Bytes of it.
    """

    arch: str
    window: int
    control: Mapping[str, int]
    ram: int
    ram_base: int
    ram_size: int


def guest_of(machine: System) -> Guest:
    """What is to be known of ``machine``."""
    memory = machine.memory
    return Guest(
        arch=machine.arch,
        window=ctypes.addressof(machine.words),
        control={
            name: ctypes.addressof(word) for name, word in control_words(machine.engine).items()
        },
        ram=memory.host_address,
        ram_base=memory.base,
        ram_size=memory.size,
    )
