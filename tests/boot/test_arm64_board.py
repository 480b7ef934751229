"""The ARM64 board with bare guests of a few instructions."""

from __future__ import annotations

import pytest
from makers.arm64_code import (
    BRK,
    LOOP,
    POWER_OFF,
    SET_TIMER,
    START_TIMER,
    WFI,
    bare_guest,
    firmware,
    load,
    mov,
    say,
    store,
)

from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.faults import GuestHang, GuestPanic, GuestReset, NoDevice
from kprobesim.boot.stop import Stop
from kprobesim.errors import UsageError

MIB = 1 << 20


def board(code: list[int]) -> Arm64Board:
    return Arm64Board(bare_guest(code), initrd=None, append="", memory=16 * MIB)


def test_prints_and_switches_itself_off() -> None:
    b = board([*say("hello\r\n"), *POWER_OFF, LOOP])
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.console.text == "hello\n"
    assert b.run().kind is Stop.POWER_OFF
    assert b.console.text == "hello\n"


def test_asks_for_a_restart() -> None:
    assert board([*firmware(0x8400_0009), LOOP]).run(timeout=5).kind is Stop.RESTART


def test_firmware_refuses_what_it_does_not_know() -> None:
    b = board([*firmware(0x8400_0123), *POWER_OFF, LOOP])
    seen = []
    call = b.psci.call
    b.psci.call = lambda *a: seen.append(call(*a)) or seen[-1]  # type: ignore[method-assign]
    b.run(timeout=5)
    assert seen == [(1 << 64) - 1, 0]


def test_stops_at_a_text_and_goes_on_with_nothing_lost_or_doubled() -> None:
    b = board([*say("one two "), 0x14000001, *say("three"), *POWER_OFF, LOOP])
    stop = b.run("ne t", timeout=5)
    assert (stop.kind, stop.detail) == (Stop.TEXT, "ne t")
    assert "one t" in b.console.text
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.console.text == "one two three"


def test_a_text_from_before_does_not_count() -> None:
    b = board([*say("one "), 0x14000001, *say("two"), *POWER_OFF, LOOP])
    b.run("one", timeout=5)
    assert b.run("one", timeout=5).kind is Stop.POWER_OFF


def test_virtual_time_ends_a_run_exactly_and_repeatably() -> None:
    times = []
    for _ in range(2):
        b = board([LOOP])
        assert b.run(seconds=0.001, timeout=10).kind is Stop.SECONDS
        times.append(b.time)
        b.run(seconds=0.5, timeout=10)
        times.append(b.time)
    assert times[:2] == times[2:]
    assert times[:2] == pytest.approx([0.001, 0.501], abs=1e-6)


def test_a_loop_does_not_hang_the_host() -> None:
    b = board([LOOP])
    assert b.run(timeout=0.05).kind is Stop.TIMEOUT
    b.progress.patience = 0.01
    with pytest.raises(GuestHang, match=r"no progress for 0\.01 s"):
        b.run()


def test_a_condition_is_asked() -> None:
    b = board([LOOP])
    assert b.run(lambda at: at.time > 0.01).kind is Stop.CONDITION
    assert 0.01 < b.time < 0.05


def test_time_jumps_to_the_timer_when_the_guest_idles() -> None:
    a_second = mov(0, 62_500_000)
    b = board([*a_second, SET_TIMER, *mov(0, 1), START_TIMER, WFI, *say("!"), *POWER_OFF, LOOP])
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.console.text == "!"
    assert b.time == pytest.approx(1, abs=1e-4)


def test_waiting_for_nothing_is_halting() -> None:
    assert board([WFI, LOOP]).run(timeout=5).kind is Stop.HALT


def test_missing_devices_are_told() -> None:
    for touch in (store(0, 1), load(0, 1)):
        before = [*say("x"), *mov(1, 0x0A00_0000)]
        b = board([*before, touch, *mov(2, 5), LOOP])
        words, pc = b.machine.words, b.machine.engine.layout.pc
        place = words[pc] + 64 + 4 * len(before)  # the header comes first
        with pytest.raises(NoDevice, match="physical address 0xa000000, ") as caught:
            b.run(timeout=5)
        assert words[pc] == place
        assert caught.value.console == "x"


def test_an_exception_before_there_are_vectors_is_told() -> None:
    with pytest.raises(GuestReset, match="before there were vectors"):
        board([BRK, LOOP]).run(timeout=5)


def test_a_panic_is_told_with_its_reason() -> None:
    text = "[ 1.0] Kernel panic - not syncing: no more tea\n---[ end Kernel panic - not ]---\n"
    b = board([*say(text), LOOP])
    with pytest.raises(GuestPanic, match="kernel panic: no more tea"):
        b.run(timeout=5)
    assert b.run(timeout=0.05).kind is Stop.TIMEOUT


def test_breakpoints_are_offered_first_and_errors_come_out() -> None:
    b = board([BRK, *say("on"), *POWER_OFF, LOOP])
    words, pc = b.machine.words, b.machine.engine.layout.pc

    def skip() -> bool:
        words[pc] += 4
        return True

    b.machine.vcpu.traps.breakpoint.append(skip)
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.console.text == "on"

    def refuse() -> bool:
        raise KeyError("mine")

    b = board([BRK, LOOP])
    b.machine.vcpu.traps.breakpoint.append(refuse)
    with pytest.raises(KeyError, match="mine"):
        b.run(timeout=5)


def test_listeners_may_raise() -> None:
    b = board([*say("x"), LOOP])

    def complain(_data: bytes) -> None:
        raise ValueError("not this")

    b.console.listeners.append(complain)
    with pytest.raises(ValueError, match="not this"):
        b.run(timeout=5)


def test_reading_the_counter_takes_time_and_looking_at_the_clock_does_not() -> None:
    b = board([LOOP])
    b.run(seconds=0.1)
    before = b.time
    assert b.time == before
    first, second = b.timer.count(), b.timer.count()
    assert 0 < second - first < 1000
    assert first == pytest.approx(before * 62_500_000, abs=1000)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"memory": 0}, "positive multiple"),
        ({"memory": 12345}, "positive multiple"),
        ({"memory": 2 * MIB}, "will not do"),
        ({"memory": 1 << 60}, "cannot give the guest"),
        ({"initrd": "text"}, "initrd is of type str"),
        ({"initrd": bytes(15 * MIB)}, "will not do"),
        ({"append": b"quiet"}, "append is of type bytes"),
        ({"append": "x" * 3000}, "longer than"),
    ],
)
def test_refuses_what_cannot_be(arguments: dict[str, object], problem: str) -> None:
    given = {"initrd": None, "append": "", "memory": 16 * MIB} | arguments
    with pytest.raises(UsageError, match=problem):
        Arm64Board(bare_guest([LOOP]), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("flags", "granule"), [(0xA, 0), (0xC, 1)])
def test_a_kernel_of_16k_pages_finds_that_the_cpu_has_them(flags: int, granule: int) -> None:
    """ID_AA64MMFR0_EL1.TGran16, at which such a kernel gives up in its first instructions."""
    mmfr0, unallocated, midr = 0xD5380709, 0xD53807EA, 0xD538000B  # mrs x9, x10, x11
    guest = bare_guest([mmfr0, unallocated, midr, *POWER_OFF, LOOP], flags=flags)
    b = Arm64Board(guest, initrd=None, append="", memory=16 * MIB)
    assert b.run(timeout=5).kind is Stop.POWER_OFF
    assert b.machine.words[9] == 0x1124 | granule << 20
    assert b.machine.words[10] == 0
    assert b.machine.words[11] == 0x410FD083  # a Cortex-A72's: not in the group that traps


def test_refuses_an_empty_text_and_other_nonsense() -> None:
    with pytest.raises(UsageError):
        board([LOOP]).run("")
    with pytest.raises(UsageError, match="type int"):
        board([LOOP]).run(5)  # type: ignore[arg-type]


def test_host_memory_access_without_mmu_is_physical() -> None:
    b = board([LOOP])
    assert b.machine.memory.read(0x4000_0000, 4) == b"\xd0\x0d\xfe\xed"
    assert b.machine.words[0] == 0x4000_0000
