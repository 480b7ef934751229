"""Instruction slots: pages of executable memory that hold the copies of probed instructions."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["SlotCache", "SlotState"]

_PAGE = 4096


class SlotState(enum.IntEnum):
    """What a slot is (kernel/kprobes.c). A dirty one may still be executed by somebody."""

    CLEAN = 0
    DIRTY = 1
    USED = 2


@dataclass
class _Page:
    address: int
    states: list[SlotState] = field(default_factory=list)


class SlotCache:
    """``kprobe_insn_slots``: slots of ``slot_size`` bytes, packed from the start of each page.

    ``new_page`` maps one executable page and returns its address. A page is searched newest first
    for its lowest clean slot. Pages are kept when they become empty: the kernel frees all but one.
    """

    def __init__(self, slot_size: int, new_page: Callable[[], int]) -> None:
        self.slot_size = slot_size
        self.per_page = _PAGE // slot_size
        self._new_page = new_page
        self._pages: dict[int, _Page] = {}
        self._garbage = 0

    def get(self, *, collect: bool) -> int:
        """The address of a slot that is now used; ``collect``: nobody can be in a dirty one."""
        if self._garbage and collect:
            self.collect_garbage()
        for page in reversed(self._pages.values()):
            if SlotState.CLEAN in page.states:
                index = page.states.index(SlotState.CLEAN)
                break
        else:
            page = _Page(self._new_page(), [SlotState.CLEAN] * self.per_page)
            self._pages[page.address] = page
            index = 0
        page.states[index] = SlotState.USED
        return page.address + index * self.slot_size

    def free(self, slot: int, *, dirty: bool) -> None:
        """Give ``slot`` back; a dirty one is not handed out before the next collection."""
        page, index = self._find(slot)
        if page.states[index] is not SlotState.USED:
            raise AssertionError(f"slot {slot:#x} is freed twice")
        page.states[index] = SlotState.DIRTY if dirty else SlotState.CLEAN
        self._garbage += dirty

    def collect_garbage(self) -> None:
        """Clean the dirty slots: the caller knows that nobody executes one."""
        for page in self._pages.values():
            page.states = [
                SlotState.CLEAN if state is SlotState.DIRTY else state for state in page.states
            ]
        self._garbage = 0

    def __contains__(self, address: int) -> bool:
        """``is_kprobe_insn_slot()``: inside any of the pages."""
        return address & -_PAGE in self._pages

    @property
    def used(self) -> int:
        """How many slots hold a copy."""
        return sum(page.states.count(SlotState.USED) for page in self._pages.values())

    def _find(self, slot: int) -> tuple[_Page, int]:
        page = self._pages.get(slot & -_PAGE)
        if page is None or (slot - page.address) % self.slot_size:
            raise AssertionError(f"{slot:#x} is no slot")
        return page, (slot - page.address) // self.slot_size
