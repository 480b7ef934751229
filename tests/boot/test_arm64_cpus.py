"""Several CPUs on the ARM64 board, with bare guests of a few instructions."""

from __future__ import annotations

import pickle
import re

import pytest
from makers.arm64_code import (
    BRK,
    LOOP,
    POWER_OFF,
    SET_TIMER,
    SMC,
    START_TIMER,
    WFI,
    bare_guest,
    firmware,
    mov,
    say,
    store,
)

from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.faults import GuestHang, GuestReset
from kprobesim.boot.round_robin import RoundRobin
from kprobesim.boot.stop import Stop
from kprobesim.errors import UsageError

KERNEL = 0x4020_0000 + 64  # where the code of a bare guest runs
CPU_ON, CPU_OFF, AFFINITY_INFO = 0xC400_0003, 0x8400_0002, 0xC400_0004
READ_AFFINITY = 0xD53800A9  # mrs x9, mpidr_el1
GICD, GICC = 0x0800_0000, 0x0801_0000


def switch_on(cpu: int, entry: int, context: int) -> list[int]:
    """Call PSCI's CPU_ON."""
    return [*mov(0, CPU_ON), *mov(1, cpu), *mov(2, entry), *mov(3, context), SMC]


def write(address: int, value: int) -> list[int]:
    """Store 32 bits."""
    return [*mov(1, address), *mov(0, value), store(0, 1)]


def several(first: list[int], second: list[int], cpus: int = 2) -> Arm64Board:
    """A board whose CPU 0 runs ``first``, behind which is ``second``."""
    return Arm64Board(
        bare_guest([*first, *second]), initrd=None, append="", memory=16 << 20, cpus=cpus
    )


def started(then: list[int], second: list[int], cpus: int = 2) -> Arm64Board:
    """A board whose CPU 0 switches CPU 1 on, which runs ``second``, and goes on with ``then``."""
    on = switch_on(1, 0, 0)
    entry = KERNEL + 4 * (len(on) + len(then))
    return several([*switch_on(1, entry, 0x77), *then], second, cpus)


def test_a_cpu_is_started_as_the_firmware_does() -> None:
    b = started([WFI, LOOP], [READ_AFFINITY, *say("1"), *POWER_OFF, LOOP])
    assert b.turns is not None and b.turns.on == [True, False]
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert (b.console.text, b.turns.on) == ("1", [True, True])
    assert b.machine.vcpu.number == 1
    assert b.machine.words[9] == 1 << 31 | 1
    flags = b.machine.cpu.read_flags()
    assert flags & 0xF == 5 and flags & 0x3C0 == 0x3C0


def test_both_run_by_turns_and_a_cpu_can_be_switched_off() -> None:
    ask = [*mov(0, AFFINITY_INFO), *mov(1, 1), SMC, 0xF100041F]  # cmp x0, #1
    wait = [*ask, 0x54000001 | (-len(ask) & 0x7FFFF) << 5]  # b.ne to the first
    b = started([*wait, *say("0"), *POWER_OFF, LOOP], [*say("1"), *firmware(CPU_OFF), LOOP])
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.console.text == "10"
    assert b.turns is not None and b.turns.on == [True, False]


def test_the_last_cpu_that_is_switched_off_ends_the_guest() -> None:
    b = several([*firmware(CPU_OFF), LOOP], [])
    assert b.run(timeout=5).kind is Stop.HALT


def test_a_software_interrupt_wakes_the_other_cpu() -> None:
    """CPU 0 waits for the interrupt that CPU 1 sends when its own timer has woken it."""
    enable = [*write(GICD, 1), *write(GICC, 1), *write(GICC + 4, 0xF0)]
    timer = [*write(GICD + 0x100, 1 << 30), *mov(0, 6_250_000), SET_TIMER, *mov(0, 1), START_TIMER]
    b = started(
        [*enable, WFI, *say("0"), *POWER_OFF, LOOP],
        [*enable, *timer, WFI, *say("1"), *write(GICD + 0xF00, 1 << 16 | 4), WFI, LOOP],
    )
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.console.text == "10"
    assert b.time == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("hint", [0xD503203F, 0xD503205F])  # yield, wfe
def test_a_turn_ends_where_a_cpu_spins(hint: int) -> None:
    b = started([hint, 0x17FFFFFF], [*say("1"), *POWER_OFF, LOOP])  # b to the hint
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.time < 1e-6  # and a whole turn takes 160


def test_states_hold_all_cpus() -> None:
    b = started([*say("a "), *[0xD503201F] * 8, LOOP], [READ_AFFINITY, *say("b "), LOOP])
    b.run(seconds=0.0005)
    state, ram = b.save_state(), bytes(b.ram)
    b.run(seconds=0.001)
    other = Arm64Board.empty(b.image, 16 << 20, cpus=2)
    other.ram[:] = ram
    other.load_state(state)
    other.run(seconds=0.001)
    assert other.turns is not None and b.turns is not None and other.turns.on == [True, True]
    assert (other.time, other.save_state()) == (b.time, b.save_state())
    with pytest.raises(UsageError, match="no state of one CPU"):
        Arm64Board.empty(b.image, 16 << 20).load_state(state)


@pytest.mark.parametrize("cpus", [0, 9, "2", True])
def test_refuses_other_numbers_of_cpus(cpus: object) -> None:
    with pytest.raises(UsageError, match="from 1 to 8"):
        several([LOOP], [], cpus)  # type: ignore[arg-type]


@pytest.mark.parametrize("switched", [False, True])
def test_an_exclusive_store_fails_where_another_cpu_has_run(switched: bool) -> None:
    """It may have stored something and put the old value back."""
    ldxr, branch, stxr = 0xC85F7C20, 0x14000001, 0xC8027C23  # x0 and w2, x3 at [x1]; b . + 4
    b = several([*mov(1, KERNEL + 0x1000), ldxr, branch, stxr, WFI, LOOP], [])
    machine = b.machine
    words, pc = machine.words, machine.engine.layout.pc
    machine.engine.run(words[pc], 2)  # blocks, of which the first is the header
    if switched:
        machine.switch_to(1)
        machine.switch_to(0)
    machine.engine.run(words[pc], 1)
    assert words[2] == switched


def test_a_state_that_is_saved_in_between_makes_no_exclusive_store_fail() -> None:
    ldxr, branch, stxr = 0xC85F7C20, 0x14000001, 0xC8027C23  # x0 and w2, x3 at [x1]; b . + 4
    b = several([*mov(1, KERNEL + 0x1000), ldxr, branch, stxr, WFI, LOOP], [])
    b.machine.engine.run(b.machine.words[b.machine.engine.layout.pc], 2)  # blocks
    state, ram = b.save_state(), bytes(b.ram)
    other = Arm64Board.empty(b.image, 16 << 20, cpus=2)
    other.ram[:] = ram
    other.load_state(state)
    for board in (b, other):
        words = board.machine.words
        board.machine.engine.run(words[board.machine.engine.layout.pc], 1)
        assert words[2] == 0


def test_exclusive_stores_succeed_some_time_where_turns_are_of_one_block() -> None:
    """Both CPUs count up one word, with a branch between LDXR and STXR."""
    count, place = 50, KERNEL + 0x1000
    counts = [*mov(1, place), *mov(5, count)]
    counts += [0x885F7C20, 0x14000001, 0x11000400, 0x88027C20]  # ldxr; b . + 4; add; stxr w2
    counts += [0x35000002 | (-4 & 0x7FFFF) << 5]  # cbnz w2
    counts += [0xF10004A5, 0x54000001 | (-6 & 0x7FFFF) << 5]  # subs x5; b.ne
    b = started([*counts, *POWER_OFF, LOOP], [*counts, LOOP])
    assert b.turns is not None
    b.turns.policy = RoundRobin(1)
    assert b.run(seconds=0.001).kind is Stop.POWER_OFF
    assert b.turns.switches > 2 * count
    done = int.from_bytes(b.machine.memory.read(place, 4), "little")
    assert count <= done <= 2 * count


def test_a_cpu_that_hangs_is_told_with_what_the_others_do() -> None:
    """CPU 1 loops with interrupts off, while CPU 0 waits and CPU 2 is off."""
    b = started([WFI, LOOP], [LOOP], cpus=3)
    b.progress.stuck = 0.01
    for _ in range(4):
        b.run(seconds=0.005)
        b.interrupted(1)  # which it can be only with interrupts on
    with pytest.raises(GuestHang, match=r"^CPU 1 has had interrupts off .* 0\.01 s") as caught:
        b.run(timeout=10)
    hang = pickle.loads(pickle.dumps(caught.value))
    doing = [other.doing for other in hang.others]
    assert (hang.cpu, doing) == (1, ["waits for an interrupt", "is off"])
    assert re.search(r"(?s), on CPU 1 at 0x.*\nCPU 0 waits for an interrupt, at 0x", str(hang))
    assert hang.as_dict()["others"][0]["cpu"] == 0  # type: ignore[index]


def test_all_cpus_wait_for_ever() -> None:
    b = started([WFI, LOOP], [WFI, LOOP])
    b.machine.cpu.write_flags(0x5)
    with pytest.raises(GuestHang, match="waits for an interrupt, and none can come") as caught:
        b.run(timeout=5)
    assert len(caught.value.others) == 1


def test_a_cpu_that_resets_in_the_middle_of_a_run_tells_of_the_others() -> None:
    b = started([WFI, LOOP], [BRK, LOOP])
    with pytest.raises(GuestReset, match=r"before there were vectors .*, on CPU 1") as caught:
        b.run(timeout=5)
    assert [other.doing for other in caught.value.others] == ["waits for an interrupt"]
    assert b.machine.vcpu.number == 1
