"""Interrupts that the CPU takes by itself, local APICs and MSRs, as code of a guest uses them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from boot.x86_64.test_x86_board import _BASE, _board, _gate, _stack

from kprobesim.boot.stop import Stop
from kprobesim.boot.x86_64.board import X86Board

HALTS = "f4"
X2APIC = 1 << 10


def run(code: str, **handlers: str) -> X86Board:
    """A board that has run ``code`` to a halt with interrupts off; handlers by vector."""
    board = _board(code)
    _stack(board)
    for vector, handler in handlers.items():
        _gate(board, int(vector[1:], 16), handler)
    assert board.run(timeout=10).kind is Stop.HALT
    return board


@pytest.mark.parametrize(
    ("opens", "behind"),
    [("fb 41ffc0", 3), ("9c 810c2400020000 9d", 0)],
    ids=["sti; inc r8d", "pushfq; or; popfq"],
)
def test_an_interrupt_comes_where_the_flag_lets_it(opens: str, behind: int) -> None:
    # mov esi, 0xfee00300; mov dword [rsi], 0x40030 (to itself); ...; inc r9d; hlt
    board = run(f"be0003e0fe c70630000400 9090 {opens} 41ffc1 f4", v30="4c8b1424 f4")
    words = board.machine.words
    assert (words[8], words[9]) == (behind and 1, 0)
    assert words[10] == _BASE + 13 + len(bytes.fromhex(opens))
    assert board.entry.counts[0x30] == 1
    assert board.interrupts.lapics[0].isr == 1 << 0x30


def test_msrs_are_the_local_apic_s() -> None:
    board = run(
        # rdmsr(0x1b) to r8, and wrmsr of it with x2APIC on; rdmsr(0x802) to r9
        "b91b000000 0f32 4189c0 0d00040000 0f30 b902080000 0f32 4189c1"
        # sti; wrmsr(0x83f, 0x30): to itself; nop; nop; jmp $+2
        "fb b93f080000 b830000000 31d2 0f30 9090 eb00"
        # wrmsr(0x832, 0x40031); r11 = rdtsc + 100000; wrmsr(0x6e0) and back to r12; hlt
        "b932080000 b831000400 0f30 0f31 05a0860100 4189c3 b9e0060000 0f30 0f32 4189c4 f4",
        v30="41ffc5 51 b90b080000 31c0 31d2 0f30 59 48cf",  # inc r13d; wrmsr(0x80b, 0); iretq
        v31="fa 0f31 4189c6 f4",  # cli; r14 = rdtsc; hlt
    )
    words, lapic = board.machine.words, board.interrupts.lapics[0]
    assert words[8] == 0xFEE0_0900
    assert words[9] == 0
    assert words[13] == 1, "the interrupt has come, and was ended"
    assert words[12] == words[11], "the deadline is read back"
    assert words[11] <= words[14] < words[11] + 1000
    assert lapic.base & X2APIC
    assert lapic.isr == 1 << 0x31


def test_an_nmi_comes_with_interrupts_off_and_never_within_another() -> None:
    # mov esi, 0xfee00300; mov dword [rsi], 0x400; jmp $+2; nop; jmp $+2; hlt
    board = run(
        "be0003e0fe c70600040000 eb00 90 eb00 f4",
        # inc r8d; mov r9, rsp; cmp r8d, 1; jne; send another; jmp $+2; jmp $+2; r10 = r8; iretq
        v2="41ffc0 4989e1 4183f801 750d c70600040000 eb00 eb00 4d89c2 48cf",
    )
    words = board.machine.words
    assert (words[8], words[10]) == (2, 1)
    assert words[9] == 0x5000 - 40, "not on top of the first"
    assert board.entry.counts[2] == 2


def test_what_is_no_longer_asked_for_is_not_taken() -> None:
    # The serial port's interrupt is switched on and off again before sti; nop; nop; cli; hlt.
    board = _board("66bafc03 b008 ee 66baf903 b002 ee 90 eb00 b000 ee eb00 fb 9090 fa f4")
    for port, value in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xEF)):
        board.pic.write(port, 1, value)
    _gate(board, 0x34, HALTS)
    assert board.run(timeout=10).kind is Stop.HALT
    assert board.entry.counts[0x34] == 0


def without_apics(state: dict[str, Any]) -> dict[str, Any]:
    """``state`` as it was saved before there were any."""
    old = copy.deepcopy(state)
    for name in ("interrupts", "ioapic", "lapic0"):
        del old["parts"][name]
    old["board"] |= {"look_at": 1234, "soon": 800}
    return old


def test_a_state_from_before_there_were_apics_goes_on_without() -> None:
    # mov eax, 1; cpuid; mov esi, 0xfee00030; mov ebx, [rsi]; mov ecx, 0x1b; rdmsr; hlt
    first = _board("b801000000 0fa2 4189d0 be3000e0fe 8b1e b91b000000 0f32 f4")
    second = X86Board.empty(first.image, len(first.ram))
    second.ram[:] = first.ram[:]
    second.load_state(without_apics(first.save_state()))
    assert second.run(timeout=10).kind is Stop.HALT
    words = second.machine.words
    assert not words[8] >> 9 & 1
    assert words[3] == 0xFFFF_FFFF
    assert words[0] == 0
    third = X86Board.empty(first.image, len(first.ram))
    third.load_state(second.save_state())
    assert not third.interrupts.has_apics
