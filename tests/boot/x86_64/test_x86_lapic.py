"""Local APICs and the I/O APIC: priorities, timers, messages, levels, states."""

from __future__ import annotations

import pytest

from kprobesim.boot.x86_64.interrupts import FROM_8259, Interrupts
from kprobesim.boot.x86_64.lapic import LocalApic
from kprobesim.boot.x86_64.pit import Pit

ID, TPR, EOI, LDR, DFR, SVR, ISR, IRR = 2, 8, 0xB, 0xD, 0xE, 0xF, 0x10, 0x20
ICR, ICR_HIGH, LVT_TIMER, LINT0, INITIAL, CURRENT, DIVIDE = 0x30, 0x31, 0x32, 0x35, 0x38, 0x39, 0x3E
MASKED, ON = 1 << 16, 0x1FF
X2APIC = 1 << 10
TIMER = 0xEC


class Pc:
    """Controllers without CPUs, and a time that stands."""

    def __init__(self, cpus: int = 4) -> None:
        self.now = 1000
        self.interrupts = Interrupts(cpus, lambda: self.now, Pit(lambda: self.now))
        self.lapics = self.interrupts.lapics
        for lapic in self.lapics:
            lapic.write(SVR, ON)

    def send(self, sender: int, icr: int, to: int = 0) -> None:
        self.lapics[sender].write(ICR_HIGH, to << 24)
        self.lapics[sender].write(ICR, icr)

    def requested(self, vector: int) -> list[int]:
        return [lapic.number for lapic in self.lapics if lapic.irr >> vector & 1]

    def route(self, pin: int, entry: int) -> None:
        for high in (1, 0):
            self.interrupts.ioapic.write(0, 0x10 + 2 * pin + high)
            self.interrupts.ioapic.write(0x10, entry >> 32 * high & 0xFFFF_FFFF)


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_the_highest_vector_comes_first_and_holds_back_its_class(pc: Pc) -> None:
    lapic, taken = pc.lapics[0], list[int]()
    pc.interrupts.taken = taken.append
    for vector in (0x31, 0x52, 0x5E):
        lapic.accept(vector)
    assert lapic.pending() == 0x5E
    pc.interrupts.acknowledge(0, 0x5E)
    assert taken == [0]
    assert lapic.pending() == -1, "0x52 is of the same class"
    assert lapic.read(ISR + 2) == 1 << 30
    assert lapic.read(IRR + 2) == 1 << 18
    lapic.accept(0x61)
    assert lapic.pending() == 0x61, "but a higher one comes at once"
    lapic.write(EOI, 0)
    lapic.write(TPR, 0x60)
    assert lapic.pending() == -1
    lapic.write(TPR, 0x50)
    assert lapic.pending() == 0x61
    lapic.write(TPR, 0)
    lapic.acknowledge(0x61)
    lapic.write(EOI, 0)
    assert lapic.pending() == 0x52


def test_what_is_off_takes_nothing(pc: Pc) -> None:
    lapic = pc.lapics[1]
    lapic.write(LVT_TIMER, TIMER)
    lapic.write(SVR, 0xFF)
    lapic.accept(0x40)
    assert lapic.irr == 0
    lapic.write(LINT0, 0x700)
    assert lapic.read(LINT0) == 0x700 | MASKED, "masked as long as it is off"
    assert lapic.read(LVT_TIMER) == TIMER | MASKED


def test_a_timer_shoots_once_or_periodically(pc: Pc) -> None:
    lapic = pc.lapics[2]
    lapic.write(DIVIDE, 3)  # by 16
    lapic.write(LVT_TIMER, TIMER)
    lapic.write(INITIAL, 1000)
    assert lapic.timer.due == pc.now + 160_000
    pc.now += 40_000
    assert lapic.read(CURRENT) == 750
    lapic.write(DIVIDE, 0xB)  # by 1
    assert lapic.timer.due == pc.now + 7_500
    pc.now += 7_500
    pc.interrupts.advance()
    assert pc.requested(TIMER) == [2]
    assert lapic.timer.due is None
    lapic.irr = 0
    lapic.write(LVT_TIMER, TIMER | 1 << 17)
    lapic.write(INITIAL, 100)
    start = pc.now
    pc.now += 3_500
    pc.interrupts.advance()
    assert pc.requested(TIMER) == [2]
    assert pc.interrupts.next_event() == start + 4_000, "what was missed is one"
    lapic.write(INITIAL, 0)
    assert pc.interrupts.next_event() is None


def test_a_timer_waits_for_a_deadline(pc: Pc) -> None:
    lapic = pc.lapics[1]
    lapic.timer.set_deadline(5000)
    assert lapic.timer.due is None, "in another mode"
    lapic.write(LVT_TIMER, TIMER | 2 << 17)
    lapic.timer.set_deadline(5000)
    lapic.write(INITIAL, 3)
    assert pc.interrupts.next_event() == lapic.timer.deadline == 5000
    pc.now = 5000
    pc.interrupts.advance()
    assert (pc.requested(TIMER), lapic.timer.deadline) == ([1], 0)
    lapic.timer.set_deadline(1 << 63)
    assert pc.interrupts.next_event() is None
    lapic.timer.set_deadline(9000)
    lapic.write(LVT_TIMER, TIMER)
    assert pc.interrupts.next_event() is None, "disarmed by another mode"


def test_messages_reach_whom_they_name(pc: Pc) -> None:
    for lapic in pc.lapics:
        lapic.write(LDR, 1 << 24 + lapic.number)
    for icr, to, reached in (
        (0x40, 2, [2]),
        (0x41, 0xFF, [0, 1, 2, 3]),
        (0x42 | 1 << 11, 0b1010, [1, 3]),
        (0x43 | 1 << 18, 0, [1]),
        (0x44 | 2 << 18, 0, [0, 1, 2, 3]),
        (0x45 | 3 << 18, 0, [0, 2, 3]),
        (0x46 | 1 << 8 | 1 << 11, 0b1100, [2]),  # lowest priority
    ):
        pc.send(1, icr, to)
        assert pc.requested(icr & 0xFF) == reached
    for lapic in pc.lapics:
        lapic.write(DFR, 0x0FFF_FFFF)  # clusters of four
        lapic.write(LDR, lapic.number // 2 << 28 | 1 << 24 + lapic.number % 2)
    pc.send(0, 0x50 | 1 << 11, 0x12)
    assert pc.requested(0x50) == [3]
    pc.send(0, 4 << 8, 3)
    assert [lapic.nmi for lapic in pc.lapics] == [False, False, False, True]


def test_x2apic_has_registers_of_its_own(pc: Pc) -> None:
    for lapic in pc.lapics:
        lapic.write_base(lapic.base | X2APIC)
        assert lapic.read_msr(ID) == lapic.number
        assert lapic.read_msr(LDR) == 1 << lapic.number
    pc.lapics[0].write_msr(ICR, 3 << 32 | 0x40)
    assert pc.requested(0x40) == [3]
    assert pc.lapics[0].read_msr(ICR) == 3 << 32 | 0x40
    pc.lapics[0].write_msr(ICR, 0b110 << 32 | 1 << 11 | 0x41)
    assert pc.requested(0x41) == [1, 2]
    pc.lapics[2].write_msr(0x3F, 0x42)
    assert pc.requested(0x42) == [2]
    pc.lapics[1].write_base(0)
    assert not pc.lapics[1].is_enabled
    assert pc.lapics[1].irr == 0


def test_init_and_start_begin_a_cpu_once(pc: Pc) -> None:
    pc.lapics[3].accept(0x40)
    pc.send(0, 0x9A | 6 << 8, 3)
    assert pc.interrupts.starting == [], "no INIT before"
    pc.send(0, 5 << 8 | 1 << 14 | 1 << 15, 3)
    assert pc.lapics[3].irr == 0
    pc.send(0, 5 << 8 | 1 << 15, 3)  # de-asserted
    for _ in range(2):
        pc.send(0, 0x9A | 6 << 8, 3)
    assert pc.interrupts.starting == [(3, 0x9A)]


def test_an_edge_is_a_message_and_a_level_repeats_until_it_falls(pc: Pc) -> None:
    interrupts, lapic = pc.interrupts, pc.lapics[1]
    interrupts.set_irq(4, True)
    pc.route(4, 1 << 56 | 0x41)
    assert pc.requested(0x41) == [], "a masked edge is lost"
    interrupts.set_irq(4, False)
    interrupts.set_irq(4, True)
    assert pc.requested(0x41) == [1]
    pc.route(9, 1 << 56 | 1 << 15 | 0x51)
    interrupts.set_irq(9, True)
    for _ in range(2):
        assert lapic.pending() == 0x51
        lapic.acknowledge(0x51)
        lapic.write(EOI, 0)
    interrupts.set_irq(9, False)
    lapic.acknowledge(0x51)
    lapic.write(EOI, 0)
    assert pc.requested(0x51) == []
    interrupts.ioapic.write(0, 1)
    assert interrupts.ioapic.read(0x10) == 0x17_0011


def test_the_timer_s_line_is_at_pin_2(pc: Pc) -> None:
    pc.route(2, 0x30)
    pc.interrupts.set_irq(0, True)
    assert pc.requested(0x30) == [0]


def test_the_8259_comes_through_lint0_of_the_boot_cpu() -> None:
    pc = Pc(2)
    interrupts, pic = pc.interrupts, pc.interrupts.pic
    for port, value in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xEF)):
        pic.write(port, 1, value)
    interrupts.set_irq(4, True)
    assert interrupts.pending(0) == FROM_8259 | 0x34
    assert interrupts.pending(1) == -1
    pc.lapics[0].write(LINT0, MASKED | 0x700)
    assert interrupts.pending(0) == -1
    interrupts.has_apics = False
    assert interrupts.pending(0) == FROM_8259 | 0x34
    interrupts.acknowledge(0, FROM_8259 | 0x34)
    assert (interrupts.pending(0), pic.master.in_service) == (-1, 1 << 4)


def test_a_state_is_all_there_is(pc: Pc) -> None:
    lapic = pc.lapics[1]
    lapic.write_base(lapic.base | X2APIC)
    lapic.write(LVT_TIMER, TIMER | 1 << 17)
    lapic.write(INITIAL, 77)
    lapic.accept(0xFF, level=True)
    lapic.nmi = True
    other = Pc().lapics[1]
    other.load(lapic.save())
    assert isinstance(other, LocalApic)
    assert other.save() == lapic.save()
    assert other.pending() == 0xFF
