"""``Guest``: where a program finds what it reads, as addresses of the host's.

Compiled code has them baked in, so they stay as they are for the guest's life.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kprobesim.image import KernelImage
from kprobesim.inside.task_context import ContextPlaces, context_places
from kprobesim.inside.tasks import Tasks
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.machine.unicorn.struct_layout import Words
from kprobesim.programs.stores.kept_places import new_kept_places
from kprobesim.programs.stores.stacks import Stacks
from kprobesim.programs.unwound import Unwound
from kprobesim.stack.orc import OrcTable

__all__ = ["Guest", "guest_of"]


@dataclass(frozen=True)
class Guest:
    """A guest as compiled code sees it.

    Attributes:
        arch: "x86_64" or "arm64".
        busy: The word that is not 0 while guest code runs for a probe that is being handled.
        window: The first of its general registers, live 64-bit words.
        flags: A live word with EFLAGS.IF, or PSTATE.DAIF.
        control: Registers of the system by name, live words, too
            (:mod:`~kprobesim.machine.unicorn.control_words`).
        ram: Its RAM.
        ram_base: The physical address that this is for the guest.
        ram_size: Bytes of it.
        time: The two words of its stopwatch and the engine's counter
            (:mod:`~kprobesim.machine.stopwatch`); ``None``: the host's clock makes its time. To be
            called by who needs it: from then on it is measured.
        caller: A word: who the caller is, where something else stands in the place of the return
            address, as the kernel's way of return probes has it; else 0.
        cpu: The word that is the number of the CPU that runs.
        tasks: Where its tasks are, and how they look.
        image: What it runs.
        stacks: The stacks of callers that its programs have met.
        unwound: The callers that its unwinder finds.
        kept: Where in the host's memory that lies which tells a hit's context
            (:mod:`~kprobesim.programs.stores.kept_places`).
        shared: Code that all its programs call, by name, each made when first needed.
    """

    arch: str
    busy: int
    window: int
    flags: int
    control: Mapping[str, int]
    ram: int
    ram_base: int
    ram_size: int
    time: Callable[[], tuple[int, int, int] | None]
    caller: Words
    cpu: int
    tasks: Tasks
    image: KernelImage
    stacks: Stacks
    unwound: Unwound
    kept: Words
    shared: dict[str, Any]

    @cached_property
    def places(self) -> ContextPlaces:
        """Where it keeps in which context it runs."""
        return context_places(self.image)

    @cached_property
    def has_frames(self) -> bool:
        """Whether its code keeps frame pointers: not if it has ORC instead."""
        return not OrcTable(self.image)


def guest_of(machine: System, tasks: Tasks, image: KernelImage) -> Guest:
    """What is to be known of ``machine``, which runs ``image`` with its ``tasks``."""
    memory = machine.memory

    def time() -> tuple[int, int, int] | None:
        words = machine.stopwatch.words
        if words is None:
            return None
        base = ctypes.addressof(words)
        return base, base + 8, ctypes.addressof(machine.engine.counter_words)

    return Guest(
        arch=machine.arch,
        busy=ctypes.addressof(machine.vcpu.busy),
        window=ctypes.addressof(machine.words),
        flags=ctypes.addressof(machine.words) + 8 * machine.engine.layout.flags,
        control={
            name: ctypes.addressof(word) for name, word in control_words(machine.engine).items()
        },
        ram=memory.host_address,
        ram_base=memory.base,
        ram_size=memory.size,
        time=time,
        caller=(ctypes.c_uint64 * 1)(),
        cpu=ctypes.addressof(machine.number_word),
        tasks=tasks,
        image=image,
        stacks=Stacks(),
        unwound=Unwound(machine, image, machine.engine.hooks.keep),
        kept=new_kept_places(machine),
        shared={},
    )
