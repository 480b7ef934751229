"""Where Unicorn's functions cannot be replaced: the 8259A alone, polled between two runs."""

from __future__ import annotations

import pytest
from boot.x86_64.test_x86_board import _COUNT, _board, _gate, _stack, _tick

from kprobesim.boot.stop import Stop
from kprobesim.boot.x86_64 import board as module
from kprobesim.errors import UsageError


@pytest.fixture(autouse=True)
def irreplaceable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_intercepts", lambda engine: None)


@pytest.mark.parametrize("loop", ["f4 ebfd", "ebfe", "fb ebfd"], ids=["hlt", "spin", "sti; spin"])
def test_timer_interrupts_idle_and_busy_guests(loop: str) -> None:
    board = _board("fb" + loop)
    _stack(board)
    _gate(board, 0x30, _COUNT)
    _tick(board)
    board.run(seconds=0.05)
    assert board.machine.words[3] == board.entry.counts[0x30] == 50


def test_an_interrupt_waits_for_the_flag_and_no_longer_than_it_must() -> None:
    # cli; mov ecx, 100000; loop $; sti; nop; cli; hlt
    board = _board("fa b9a0860100 e2fe fb 90 ebfd")
    _stack(board)
    _gate(board, 0x30, "fa f4")
    _tick(board, 10_000)
    assert board.run(timeout=10).kind is Stop.HALT
    assert board.time == pytest.approx(100_000 * 8e-9, abs=50e-6)


def test_there_are_no_apics_and_one_cpu() -> None:
    # mov eax, 1; cpuid; mov esi, 0xfee00030; mov ebx, [rsi]; hlt
    board = _board("b801000000 0fa2 4189d0 be3000e0fe 8b1e f4")
    board.run(timeout=10)
    assert not board.machine.words[8] >> 9 & 1
    assert board.machine.words[3] == 0xFFFF_FFFF
    with pytest.raises(UsageError, match="give one CPU"):
        _board("f4", cpus=2)


def test_a_guest_with_apics_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    board = _board("f4")
    monkeypatch.undo()
    state = _board("f4").save_state()
    with pytest.raises(UsageError, match="cannot be done on this computer"):
        board.load_state(state)
    board.load_state(board.save_state())
