"""The interrupt controller of several CPUs: what is banked, who gets what, and old states."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim.boot.arm64.gic import SPURIOUS, Gic
from kprobesim.errors import UsageError

TYPER, TARGETS, SGIR = 4, 0x800, 0xF00
ACKNOWLEDGE, END = 0x0C, 0x10


class Cpus:
    """A GIC of several CPUs, all of whose interfaces are on, and who accesses it."""

    def __init__(self, count: int) -> None:
        self.current = 0
        self.levels: list[tuple[int, bool]] = []
        self.gic = Gic(lambda *level: self.levels.append(level), count, lambda: self.current)
        self.gic.write_distributor(0, 4, 1)
        for self.current in range(count):
            self.gic.write_interface(0, 4, 1)
            self.gic.write_interface(4, 4, 0xF0)
        self.current = 0

    def as_cpu(self, number: int) -> Gic:
        """The GIC, as CPU ``number`` accesses it."""
        self.current = number
        return self.gic

    def take(self, number: int) -> int:
        """CPU ``number`` acknowledges an interrupt, and ends it."""
        gic = self.as_cpu(number)
        taken = gic.read_interface(ACKNOWLEDGE, 4)
        gic.write_interface(END, 4, taken)
        return taken


def test_a_software_interrupt_reaches_whom_it_is_sent_to() -> None:
    cpus = Cpus(4)
    assert cpus.gic.read_distributor(TYPER, 4) >> 5 & 7 == 3
    cpus.as_cpu(2).write_distributor(SGIR, 4, 0b1010 << 16 | 5)
    assert cpus.levels == [(1, True), (3, True)]
    assert [cpus.take(n) for n in range(4)] == [SPURIOUS, 2 << 10 | 5, SPURIOUS, 2 << 10 | 5]
    cpus.as_cpu(1).write_distributor(SGIR, 4, 1 << 24 | 6)  # to all others
    assert [cpus.take(n) & 0x3FF for n in range(4)] == [6, SPURIOUS, 6, 6]
    cpus.as_cpu(1).write_distributor(SGIR, 4, 2 << 24 | 7)  # to itself
    assert [cpus.take(n) & 0x3FF for n in range(4)] == [SPURIOUS, 7, SPURIOUS, SPURIOUS]


def test_the_same_software_interrupt_comes_once_from_each_sender() -> None:
    cpus = Cpus(3)
    for sender in (2, 1, 2):
        cpus.as_cpu(sender).write_distributor(SGIR, 4, 1 << 16 | 3)
    assert cpus.as_cpu(0).read_distributor(0xF20, 4) == 0b110 << 24
    assert cpus.gic.read_interface(0x18, 4) == 1 << 10 | 3  # who would be next
    assert [cpus.take(0) for _ in range(3)] == [1 << 10 | 3, 2 << 10 | 3, SPURIOUS]
    cpus.as_cpu(1).write_distributor(SGIR, 4, 1 << 16 | 3)
    cpus.as_cpu(0).write_distributor(0xF10, 4, 0b010 << 24)  # not pending from CPU 1 any more
    assert cpus.take(0) == SPURIOUS


def test_each_cpu_has_its_own_timer_line_enables_and_priorities() -> None:
    cpus = Cpus(2)
    for number in (0, 1):
        assert cpus.as_cpu(number).read_distributor(TARGETS, 4) == 0x0101_0101 << number
    cpus.as_cpu(1).write_distributor(0x100, 4, 1 << 30)
    cpus.gic.write_distributor(0x400 + 30, 1, 0x40)
    cpus.gic.set_line(30, True, 0)
    assert cpus.levels == []  # CPU 0 has not enabled it
    cpus.gic.set_line(30, True, 1)
    assert cpus.levels == [(1, True)]
    assert cpus.as_cpu(0).read_distributor(0x100, 4) == 0xFFFF
    assert cpus.gic.read_distributor(0x400 + 28, 4) == 0
    assert cpus.as_cpu(1).read_interface(ACKNOWLEDGE, 4) == 30
    assert cpus.gic.read_interface(0x14, 4) == 0x40
    assert cpus.as_cpu(0).read_interface(0x14, 4) == 0xFF
    assert cpus.gic.read_distributor(0x300, 4) == 0  # that of the other CPU is active


def test_a_device_interrupts_the_cpus_that_it_is_routed_to() -> None:
    cpus = Cpus(2)
    gic = cpus.gic
    gic.write_distributor(0x104, 4, 1 << 1)
    gic.set_line(33, True)
    assert cpus.levels == []  # to nobody yet
    gic.write_distributor(TARGETS + 33, 1, 0b10)
    assert cpus.levels == [(1, True)]
    gic.write_distributor(TARGETS + 33, 1, 0b11)
    assert gic.level(0) and gic.level(1)
    assert cpus.as_cpu(1).read_interface(ACKNOWLEDGE, 4) == 33
    assert not gic.level(0)  # whoever was first has it
    assert cpus.take(0) == SPURIOUS


def test_state_of_several() -> None:
    cpus = Cpus(2)
    cpus.as_cpu(1).write_distributor(SGIR, 4, 1 << 16 | 3)
    cpus.gic.set_line(30, True, 1)
    state = cpus.gic.save()
    other = Cpus(2)
    other.gic.load(state)
    assert other.gic.save() == state
    assert other.take(0) == 1 << 10 | 3
    with pytest.raises(UsageError, match="interfaces is no list of 1"):
        Gic(lambda *_: None).load(state)


def old_state() -> dict[str, Any]:
    """As a GIC of one CPU was kept: SGI 3 is pending, PPI 30 and SPI 33 are enabled, 33 runs."""

    def wide(*bits: int) -> bytes:
        return sum(1 << bit for bit in bits).to_bytes(12, "little")

    def words(first: int, count: int) -> list[bytes]:
        return [n.to_bytes(8, "little") for n in (first, *[0] * (count - 1))]

    return {
        "level": True,
        "enabled": wide(*range(16), 30, 33),
        "latched": wide(3),
        "active": wide(33),
        "lines": wide(33),
        "priority": bytes([0x90] * 33 + [0xA0] + [0] * 62),
        "targets": bytes([1] * 96),
        "config": words(0xAAAA_AAAA, 6),
        "group": words(0, 3),
        "distributor_on": 1,
        "interface_on": (1).to_bytes(8, "little"),
        "mask": 0xF0,
        "binary_point": 0,
        "running": [[33, 0xA0]],
    }


def test_a_state_from_before_there_were_several_can_be_loaded() -> None:
    gic = Gic(lambda *_: None)
    gic.load(old_state())
    assert gic.level(0)
    assert gic.read_distributor(0x100, 4) == 0xFFFF | 1 << 30
    assert gic.read_distributor(0x104, 4) == gic.read_distributor(0x304, 4) == 1 << 1
    assert gic.read_distributor(0xC00, 4) == 0xAAAA_AAAA
    assert gic.read_interface(ACKNOWLEDGE, 4) == 3
    gic.write_interface(END, 4, 3)
    assert gic.read_interface(0x14, 4) == 0xA0
    with pytest.raises(UsageError, match=r"gic\.mask"):
        gic.parse(old_state() | {"mask": 256}, "gic")
    with pytest.raises(UsageError):
        Gic(lambda *_: None, 2).load(old_state())
