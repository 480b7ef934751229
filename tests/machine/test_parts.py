"""The machine's small parts, each by itself."""

from __future__ import annotations

import threading
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kprobesim import UsageError
from kprobesim.kprobes.arming.slots import SlotCache, SlotState
from kprobesim.machine.heap import Heap
from kprobesim.machine.memory import GuestMemory, Prot
from kprobesim.machine.watchdog import Watchdog
from kprobesim.machine.x86_64 import X86Pte
from kprobesim.sizes import PAGE


@given(st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=60))
def test_heap_never_hands_out_overlapping_ranges(requests: list[tuple[int, bool]]) -> None:
    heap = Heap(0x1000, 0x1000 + (1 << 20))
    live: dict[int, int] = {}
    for size, give_back in requests:
        address = heap.alloc(size)
        for start, length in live.items():
            assert address + size <= start or start + length <= address
        live[address] = size
        if give_back:
            heap.free(address)
            del live[address]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.randoms())
def test_heap_forgets_what_was(sizes: list[int], random: Random) -> None:
    heap, fresh = Heap(0x1000, 0x8000), Heap(0x1000, 0x8000)
    places = [heap.alloc(size) for size in sizes]
    random.shuffle(places)
    for place in places:
        heap.free(place)
    assert heap.alloc(0x7000) == 0x1000
    heap.free(0x1000)
    assert [heap.alloc(size) for size in sizes] == [fresh.alloc(size) for size in sizes]
    kept = heap.save()
    more = heap.alloc(64)
    heap.restore(kept)
    assert more not in heap
    assert heap.alloc(64) == more


def test_heap_is_bounded() -> None:
    heap = Heap(0, 64)
    heap.alloc(48)
    assert not heap.fits(32)
    with pytest.raises(UsageError, match="used up"):
        heap.alloc(32)
    with pytest.raises(UsageError, match="not allocated"):
        heap.free(8)


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from([Prot.RX, Prot.RW])),
        min_size=1,
        max_size=6,
    )
)
def test_page_tables_agree_with_the_regions(wanted: list[tuple[int, int, Prot]]) -> None:
    """A walk of the guest's own tables finds what the host's regions say, in either page size."""
    memory = GuestMemory(0, 64 << 20, X86Pte())
    root, _ = memory.tables.plant(shared=True)
    base = 0xFFFF_FFFF_8000_0000
    for slot, pages, prot in wanted:
        size = pages * PAGE if pages < 6 else (2 << 20) + pages * PAGE
        start = base + slot * (4 << 20)
        if memory.region(start) is None:
            memory.map(start, memory.take_frames(size // PAGE, 2 << 20), size, prot, "test")
    for region in memory.regions:
        for address in (region.start, region.end - PAGE, (region.start + region.end) // 2):
            entry, physical = _walk(memory, root, address)
            assert physical == address - region.start + region.offset
            assert bool(entry & 2) == bool(region.prot & Prot.W)
            assert bool(entry >> 63) != bool(region.prot & Prot.X)


def _walk(memory: GuestMemory, root: int, address: int) -> tuple[int, int]:
    table = root
    for shift in (39, 30, 21, 12):
        at = table + (address >> shift & 511) * 8
        entry = int.from_bytes(memory.ram[at : at + 8], "little")
        assert entry & 1
        size = 1 << shift
        if shift == 12 or entry & 0x80:
            return entry, (entry & 0x000F_FFFF_FFFF_F000 & -size) + address % size
        table = entry & 0x000F_FFFF_FFFF_F000
    raise AssertionError


def test_regions_do_not_overlap() -> None:
    memory = GuestMemory(0, 64 << 20, X86Pte())
    memory.tables.plant(shared=True)
    memory.map_new(0x10000, 4 * PAGE, Prot.RW, "first")
    with pytest.raises(UsageError, match="first"):
        memory.map_new(0x12000, PAGE, Prot.RW, "second")


class _Looked:
    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.at = threading.Event()

    def look(self, now: float) -> None:
        assert now <= time.monotonic()
        self.at.set()


def test_watchdog_looks_only_after_what_is_in_use_and_sleeps_then() -> None:
    dog, used, unused = Watchdog(), _Looked(1), _Looked(0)
    dog.look_after(used)
    dog.look_after(unused)
    assert dog.asleep
    dog.wake()
    assert used.at.wait(5)
    assert not unused.at.is_set() and not dog.asleep
    used.owner = 0
    deadline = time.monotonic() + 5
    while not dog.asleep and time.monotonic() < deadline:
        time.sleep(0.01)
    assert dog.asleep
    unused.owner = 1
    dog.wake()
    assert unused.at.wait(5)


def test_slots_are_packed_and_reused_lowest_first() -> None:
    pages, freed = iter((0x10000, 0x20000)), list[int]()
    cache = SlotCache(15, lambda: next(pages), freed.append)
    slots = [cache.get(collect=True) for _ in range(cache.per_page + 1)]
    assert slots[:3] == [0x10000, 0x1000F, 0x1001E]
    assert slots[-1] == 0x20000
    cache.free(slots[5], dirty=False)
    cache.free(slots[3], dirty=True, collect=True)
    assert 0x10FFF in cache
    assert 0x11000 not in cache
    assert cache.get(collect=True) == 0x2000F  # the newest page first
    for _ in range(cache.per_page - 2):
        cache.get(collect=False)
    assert cache.get(collect=True) == slots[5]  # the dirty one waits until there is no other
    assert cache.get(collect=True) == slots[3]
    assert not freed
    with pytest.raises(AssertionError):
        cache.free(0x10001, dirty=False)
    assert SlotState.USED == 2  # type: ignore[comparison-overlap]


def test_empty_pages_of_slots_are_given_back_but_one() -> None:
    """``collect_one_slot()``; more garbage than a page has slots is collected at once."""
    pages, freed = iter(range(0x10000, 0x50000, 0x10000)), list[int]()
    cache = SlotCache(16, lambda: next(pages), freed.append)
    slots = [cache.get(collect=True) for _ in range(2 * 256 + 1)]
    cache.free(slots.pop(), dirty=False)
    assert freed == [0x30000]
    for slot in slots[:256]:
        cache.free(slot, dirty=True, collect=True)
    assert freed == [0x30000]
    assert 0x10000 in cache
    cache.free(slots[256], dirty=True, collect=True)
    assert freed == [0x30000, 0x10000]
    assert cache.get(collect=True) == slots[256]
    for slot in slots[256:]:
        cache.free(slot, dirty=False)
    assert freed == [0x30000, 0x10000]
    assert cache.used == 0
