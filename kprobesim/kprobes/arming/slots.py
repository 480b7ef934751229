"""Instruction slots: pages of executable memory that hold the copies of probed instructions."""

from __future__ import annotations

import enum
from collections.abc import Callable

from kprobesim.late_dataclasses import dataclass, field
from kprobesim.sizes import PAGE

__all__ = ["SlotCache", "SlotState"]


class SlotState(enum.IntEnum):
    """What a slot is (kernel/kprobes.c). A dirty one may still be executed by somebody."""

    CLEAN = 0
    DIRTY = 1
    USED = 2


@dataclass
class _Page:
    address: int
    states: list[SlotState] = field(default_factory=list)
    taken: int = 0
    """How many of its slots are used or dirty."""


class SlotCache:
    """``kprobe_insn_slots``: slots of ``slot_size`` bytes, packed from the start of each page.

    ``new_page`` maps one executable page and returns its address, ``free_page`` takes it away
    again. A page is searched newest first for its lowest clean slot; one that is empty is given
    back unless it is the only one. Dirty slots are collected when no clean one is left, or when
    there are more of them than a page has. ``collect``, for :meth:`get` and :meth:`free`: nobody
    can be in a dirty slot now (the kernel waits for that).
    """

    def __init__(
        self, slot_size: int, new_page: Callable[[], int], free_page: Callable[[int], None]
    ) -> None:
        self.slot_size = slot_size
        self.per_page = PAGE // slot_size
        self._new_page = new_page
        self._free_page = free_page
        self._pages: dict[int, _Page] = {}
        self._garbage = 0

    def get(self, *, collect: bool) -> int:
        """The address of a slot that is now used."""
        page = self._with_room()
        if page is None and self._garbage and collect:
            self.collect_garbage()
            page = self._with_room()
        if page is None:
            page = _Page(self._new_page(), [SlotState.CLEAN] * self.per_page)
            self._pages[page.address] = page
        index = page.states.index(SlotState.CLEAN)
        page.states[index] = SlotState.USED
        page.taken += 1
        return page.address + index * self.slot_size

    def _with_room(self) -> _Page | None:
        pages = reversed(self._pages.values())
        return next((page for page in pages if page.taken < self.per_page), None)

    def free(self, slot: int, *, dirty: bool, collect: bool = False) -> None:
        """Give ``slot`` back; a dirty one is not handed out before the next collection."""
        page, index = self._find(slot)
        if page.states[index] is not SlotState.USED:
            raise AssertionError(f"slot {slot:#x} is freed twice")
        if not dirty:
            page.states[index] = SlotState.CLEAN
            page.taken -= 1
            self._give_back(page)
            return
        page.states[index] = SlotState.DIRTY
        self._garbage += 1
        if self._garbage > self.per_page and collect:
            self.collect_garbage()

    def collect_garbage(self) -> None:
        """Clean the dirty slots: the caller knows that nobody executes one."""
        for page in list(self._pages.values()):
            dirty = page.states.count(SlotState.DIRTY)
            if dirty:
                page.states = [
                    SlotState.CLEAN if state is SlotState.DIRTY else state for state in page.states
                ]
                page.taken -= dirty
                self._give_back(page)
        self._garbage = 0

    def _give_back(self, page: _Page) -> None:
        if not page.taken and len(self._pages) > 1:
            del self._pages[page.address]
            self._free_page(page.address)

    def save(self) -> list[tuple[int, list[SlotState]]]:
        """The pages, and what is in each: they come and go with the guest's memory."""
        return [(page.address, page.states.copy()) for page in self._pages.values()]

    def restore(self, saved: list[tuple[int, list[SlotState]]]) -> None:
        """The pages are those of then again; nobody uses a slot now, and nobody did then."""
        self._pages = {}
        for address, states in saved:
            taken = len(states) - states.count(SlotState.CLEAN)
            self._pages[address] = _Page(address, states.copy(), taken)
        self._garbage = sum(states.count(SlotState.DIRTY) for _, states in saved)

    def __contains__(self, address: int) -> bool:
        """``is_kprobe_insn_slot()``: inside any of the pages."""
        return address & -PAGE in self._pages

    @property
    def used(self) -> int:
        """How many slots hold a copy."""
        return sum(page.states.count(SlotState.USED) for page in self._pages.values())

    def _find(self, slot: int) -> tuple[_Page, int]:
        page = self._pages.get(slot & -PAGE)
        if page is None or (slot - page.address) % self.slot_size:
            raise AssertionError(f"{slot:#x} is no slot")
        return page, (slot - page.address) // self.slot_size
