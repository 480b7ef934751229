"""The 8259A pair: what interrupts, in which order, and what ends it."""

from __future__ import annotations

import pytest

from kprobesim.boot.x86_64.pic import PicPair


@pytest.fixture
def pics() -> PicPair:
    """Set up as Linux does: vectors 0x30 and 0x38, nothing masked."""
    pics = PicPair()
    for base, words in ((0x20, (0x30, 4, 1)), (0xA0, (0x38, 2, 1))):
        pics.write(base, 1, 0x11)
        for word in words:
            pics.write(base + 1, 1, word)
        pics.write(base + 1, 1, 0)
    return pics


def _pulse(pics: PicPair, irq: int) -> None:
    pics.set_line(irq, False)
    pics.set_line(irq, True)


def test_mask_reads_back_and_holds_an_interrupt_until_it_is_opened(pics: PicPair) -> None:
    pics.write(0x21, 1, 0xFB)
    assert pics.read(0x21, 1) == 0xFB
    _pulse(pics, 4)
    assert not pics.pending()
    pics.write(0x21, 1, 0xEF)
    assert pics.pending()
    assert pics.acknowledge() == 0x34


def test_lower_priority_waits_for_the_end_of_the_higher(pics: PicPair) -> None:
    _pulse(pics, 4)
    assert pics.acknowledge() == 0x34
    _pulse(pics, 5)
    assert not pics.pending()
    _pulse(pics, 0)
    assert pics.acknowledge() == 0x30, "a higher one interrupts the handler"
    pics.write(0x20, 1, 0x60)
    assert not pics.pending()
    pics.write(0x20, 1, 0x64)
    assert pics.acknowledge() == 0x35


def test_unspecific_end_takes_the_highest_in_service(pics: PicPair) -> None:
    for irq in (6, 3):
        _pulse(pics, irq)
        pics.acknowledge()
    pics.write(0x20, 1, 0x0B)
    assert pics.read(0x20, 1) == 1 << 6 | 1 << 3
    pics.write(0x20, 1, 0x20)
    assert pics.read(0x20, 1) == 1 << 6


def test_a_level_that_stays_up_interrupts_once(pics: PicPair) -> None:
    pics.set_line(4, True)
    pics.acknowledge()
    pics.write(0x20, 1, 0x64)
    pics.set_line(4, True)
    assert not pics.pending()


def test_slave_comes_through_line_2_and_needs_both_ends(pics: PicPair) -> None:
    _pulse(pics, 8)
    assert pics.acknowledge() == 0x38
    _pulse(pics, 9)
    pics.write(0x20, 1, 0x62)
    assert not pics.pending(), "the slave still serves line 8"
    pics.write(0xA0, 1, 0x60)
    assert pics.acknowledge() == 0x39


def test_an_interrupt_that_vanished_is_spurious(pics: PicPair) -> None:
    pics.set_line(4, True)
    pics.set_line(4, False)
    assert not pics.pending()
    assert pics.acknowledge() == 0x37
    pics.write(0x20, 1, 0x0B)
    assert pics.read(0x20, 1) == 0


def test_automatic_end(pics: PicPair) -> None:
    for port, word in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 3), (0x21, 0)):
        pics.write(port, 1, word)
    _pulse(pics, 1)
    assert pics.acknowledge() == 0x31
    _pulse(pics, 1)
    assert pics.acknowledge() == 0x31
