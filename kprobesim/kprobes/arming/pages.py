"""The pages of guest memory that probes need: where they are, and what is in them at first."""

from __future__ import annotations

from typing import Protocol

from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot, Region
from kprobesim.machine.memory_map import CALLBACKS, DETOURS, SLOTS, TRAMPOLINE
from kprobesim.sizes import PAGE

__all__ = ["MappedPages", "ProbePages", "SlotPages", "is_probe_page"]

_NAMES = tuple(area.name for area in (SLOTS, DETOURS, CALLBACKS, TRAMPOLINE))


def is_probe_page(region: Region) -> bool:
    """Whether memory is mapped there for probes."""
    return region.name in _NAMES


class SlotPages(Protocol):
    """Gives pages for the copies of instructions."""

    def new_slots(self) -> int:
        """The address of one more page of executable memory, near the kernel."""

    def free(self, page: int) -> None:
        """Take a page away again."""


class ProbePages(SlotPages, Protocol):
    """Gives all the pages that breakpoints, jumps and return probes need."""

    def new_detours(self) -> int:
        """The address of one more page for detour buffers (x86-64)."""

    def new_callbacks(self) -> int:
        """The address of one more page for what detours call (x86-64)."""

    def trampoline(self) -> int:
        """Where calls return to that return probes follow; asked once."""


class MappedPages:
    """Maps pages in the modules' area of ``machine``, each when it is asked for."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        start = machine.isa.modules_start
        self._slots, self._detours = start + SLOTS.offset, start + DETOURS.offset
        self._callbacks = start + CALLBACKS.offset

    def new_slots(self) -> int:
        """The address of one more page for slots, the lowest that is free."""
        return self._map_behind(self._slots, SLOTS.name)

    def new_detours(self) -> int:
        """The address of one more page for detour buffers (x86-64)."""
        return self._map_behind(self._detours, DETOURS.name)

    def new_callbacks(self) -> int:
        """The address of one more page for what detours call (x86-64)."""
        return self._map_behind(self._callbacks, CALLBACKS.name)

    def free(self, page: int) -> None:
        """Take a page for slots, detour buffers or what they call away again."""
        region = self._machine.memory.region(page)
        assert region is not None
        self._machine.unmap(region)

    def trampoline(self) -> int:
        """Where calls return to that return probes follow; asked once."""
        return self._map_code(TRAMPOLINE.offset, self._machine.isa.trampoline_trap, TRAMPOLINE.name)

    def _map_code(self, offset: int, code: bytes, name: str) -> int:
        start = self._map(self._machine.isa.modules_start + offset, name)
        self._machine.text.poke(start, code, name)
        return start

    def _map_behind(self, start: int, name: str) -> int:
        return self._map(self._machine.memory.find_gap(start, 1 << 64, PAGE), name)

    def _map(self, start: int, name: str) -> int:
        self._machine.memory.map_new(start, PAGE, Prot.RX, name)
        return start
