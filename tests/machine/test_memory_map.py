"""The memory of our own making: nothing overlaps, and everything keeps to its place."""

from __future__ import annotations

from itertools import pairwise

from kprobesim import CalledKernel, Kretprobe
from kprobesim.arch.architecture import ARCHITECTURES, architecture
from kprobesim.machine.memory_map import AREAS, CODE, SLOTS, TRAMPOLINE


def test_no_area_overlaps_another() -> None:
    for lower, upper in pairwise(AREAS):
        assert lower.size is not None and lower.offset + lower.size <= upper.offset
    assert all(area.offset % 4096 == 0 for area in AREAS)
    assert len({area.name for area in AREAS}) == len(AREAS)


def test_what_is_mapped_lies_in_its_area(with_breakpoints: CalledKernel) -> None:
    k = with_breakpoints
    k.register_kretprobe(Kretprobe("gcd", lambda ri, regs: None))
    with k.probing("count_to", offset=0, post_handler=lambda p, regs, flags: None):
        code = k.alloc(64, executable=True)
        start = architecture(k.arch).modules_start
        places = {region.name: region.start - start for region in k.machine.memory.regions}
    assert places[TRAMPOLINE.name] == TRAMPOLINE.offset
    assert code - start >= CODE.offset
    if SLOTS.name in places:
        assert SLOTS.size is not None and 0 <= places[SLOTS.name] < SLOTS.size


def test_every_architecture_has_a_record() -> None:
    assert set(ARCHITECTURES) == {"x86_64", "arm64"}
    for name, record in ARCHITECTURES.items():
        assert record.name == name and len(record.trap) % record.insn_align == 0
