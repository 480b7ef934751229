"""Several CPUs on the PC, with guests of a few instructions."""

from __future__ import annotations

import pytest
from boot.x86_64.test_x86_board import _board, _gate, _stack

from kprobesim.boot.stop import Stop
from kprobesim.boot.x86_64.board import X86Board
from kprobesim.errors import UsageError

PAGE = 9  # where the second CPU begins, in real mode
# esi = ICR; to CPU 1: INIT, then SIPI
START = "be0003e0fe c7461000000001 c70600c50000 c70609460000"
NMI_TO_1 = "c70600040000"
OFF = "66ba0406 66b80034 66ef"  # out 0x604, 0x3400
SPIN = "f390 ebfc"
SLEEP = "fb f4 ebfc"  # sti; hlt; jmp
# In real mode:
MY_ID = "66b801000000 0fa2 66c1eb18 8d4730 baf803 ee"  # prints the APIC ID that CPUID tells
DEAF = "fa f4 ebfc"  # cli; hlt; jmp
# x2APIC on, APIC on, interrupt 0x30 to CPU 0
WAKE_0 = (
    "66b91b000000 0f32 660d00040000 0f30 66b90f080000 66b8ff010000 0f30"
    "66b930080000 66b830000000 6631d2 0f30"
)


def say(text: str) -> str:
    """Print a character, in 64-bit mode."""
    return f"66baf803 b0{ord(text):02x} ee"


def say_real(text: str) -> str:
    """Print a character, in real mode."""
    return f"baf803 b0{ord(text):02x} ee"


def several(first: str, second: str, cpus: int = 2) -> X86Board:
    """A board whose CPU 0 runs ``first``, and can start ``second``."""
    board = _board(first, cpus=cpus)
    _stack(board)
    code = bytes.fromhex(second)
    board.ram[PAGE << 12 : (PAGE << 12) + len(code)] = code
    return board


def test_a_cpu_is_started_in_real_mode_and_wakes_the_first() -> None:
    board = several(START + SLEEP, MY_ID + WAKE_0 + DEAF)
    _gate(board, 0x30, say("0") + OFF + "ebfe")
    assert board.turns is not None and board.turns.on == [True, False]
    assert board.run(timeout=5).kind is Stop.POWER_OFF
    assert board.console.text == "10"
    assert board.turns.on == [True, True]
    board.machine.switch_to(1)
    state = board.state
    assert (state.cs_selector, state.cs_base) == (PAGE << 8, PAGE << 12)
    assert not state.cr[0] & 1


def test_a_turn_ends_where_a_cpu_spins() -> None:
    board = several(START + SPIN, say_real("1") + "ba0406 b80034 ef" + DEAF)
    assert board.run(timeout=5).kind is Stop.POWER_OFF
    assert board.time < 5e-6, "and a whole turn would take 80"


def test_the_guest_ends_when_no_cpu_can_wake() -> None:
    board = several(START + "f4", say_real("1") + DEAF)
    assert board.run(timeout=5).kind is Stop.HALT
    assert board.console.text == "1"


def test_a_cpu_that_takes_no_interrupts_is_woken_by_an_nmi_or_started_anew() -> None:
    again = START.replace("0946", "0a46")
    wait = "b900000100 e2fe"  # ecx = 65536; loop
    board = several(
        START + wait + NMI_TO_1 + wait + again + wait + OFF + "ebfe", say_real("1") + DEAF
    )
    board.ram[8:12] = bytes.fromhex("00020090")
    code = bytes.fromhex(say_real("n") + DEAF)
    board.ram[0x9_0200 : 0x9_0200 + len(code)] = code
    code = bytes.fromhex(say_real("2") + DEAF)
    board.ram[0xA000 : 0xA000 + len(code)] = code
    assert board.run(timeout=5).kind is Stop.POWER_OFF
    assert board.console.text == "1n2"


def test_states_hold_all_cpus() -> None:
    loop = "48ffc0 ebfb"  # inc rax; jmp
    board = several(START + say("a") + loop, MY_ID + "6640 ebfc")
    board.run(seconds=0.0005)
    state, ram = board.save_state(), bytes(board.ram)
    board.run(seconds=0.001)
    other = X86Board.empty(board.image, len(board.ram), cpus=2)
    other.ram[:] = ram
    other.load_state(state)
    other.run(seconds=0.001)
    assert other.turns is not None and other.turns.on == [True, True]
    assert (other.time, other.save_state()) == (board.time, board.save_state())
    with pytest.raises(UsageError, match="no state of one CPU"):
        X86Board.empty(board.image, len(board.ram)).load_state(state)


def test_breakpoints_of_hardware_are_a_cpu_s_own() -> None:
    """Unicorn has one list of them, which is that of the CPU that runs."""
    # mov eax, 0x9000; mov dr0, rax; mov eax, 0x401; mov dr7, rax
    board = several("b800900000 0f23c0 b801040000 0f23f8" + START + SLEEP, say_real("1") + DEAF)
    board.run(seconds=0.001)
    assert board.console.text == "1", "not where the first CPU has one"
    board.machine.switch_to(0)
    assert board.machine.engine.read_register("dr0") == 0x9000
