"""The registers before each instruction: by machine code and by Python the same."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel
from kprobesim.arch.architecture import architecture
from kprobesim.machine.unicorn.every_instruction import EveryInstruction

_MOST = 1 << 17


def recorded(guest: CalledKernel, *, native: bool, most: int = _MOST) -> EveryInstruction:
    """A few calls, recorded."""
    abi = architecture(guest.arch).abi
    engine, sp = guest.machine.engine, abi.number(abi.stack_pointer)
    noted = EveryInstruction(engine, len(abi.registers), most, sp, native=native)
    with noted:
        for number in range(20):
            guest.call("fib", 9 + number // 10)
    return noted


def test_machine_code_notes_what_python_does(guest: CalledKernel) -> None:
    one, other = (recorded(guest, native=native) for native in (True, False))
    assert len(one) > 1 << 13  # several pieces
    assert one.addresses == other.addresses
    words = range(len(architecture(guest.arch).abi.registers))
    for number in range(0, len(one), 97):
        assert one.address(number) == one.addresses[number]
        for word in words:
            assert one.register(number, word) == other.register(number, word)


@pytest.mark.parametrize("native", [True, False])
def test_no_more_than_asked_for(guest: CalledKernel, native: bool) -> None:
    for most in (100, 1 << 13):
        noted = recorded(guest, native=native, most=most)
        assert (len(noted), noted.full) == (most, True)
        assert len(noted.addresses) == most


def test_long_blocks_take_the_time_that_they_take_without(guest: CalledKernel) -> None:
    """Unicorn ends blocks that have become too much, with the hooks in them."""
    at, stopwatch = guest.alloc(4096, executable=True), guest.machine.stopwatch
    add, back = {
        "x86_64": ("488344240801" * 500 + "488b442408", "c3"),  # addq $1, 8(%rsp)
        "arm64": ("e00740f9" + "00040091" * 500, "c0035fd6"),  # ldr x0, [sp, 8]; add x0, x0, #1
    }[guest.arch]
    guest.write(at, bytes.fromhex(add + back))

    def spent() -> int:
        before = stopwatch.now()
        guest.call(at)
        return stopwatch.now() - before

    plain = spent()
    abi = architecture(guest.arch).abi
    sp = abi.number(abi.stack_pointer)
    with EveryInstruction(guest.machine.engine, len(abi.registers), _MOST, sp) as noted:
        assert spent() == plain
    assert len(noted) > 500


def test_only_one_stack(guest: CalledKernel) -> None:
    abi = architecture(guest.arch).abi
    sp = abi.number(abi.stack_pointer)
    noted = EveryInstruction(guest.machine.engine, len(abi.registers), _MOST, sp)
    noted.only_task_of(0x1000)
    with noted:
        guest.call("fib", 5)
    assert len(noted) == 0
    assert noted.is_of_task(0x1000)
    noted.only_task_of(recorded(guest, native=True, most=1).register(0, sp))
    with noted:
        guest.call("fib", 5)
    assert len(noted) > 10
    before = len(noted)
    noted.drop_last(noted.address(before - 1) + 1)
    assert len(noted) == before
    noted.drop_last(noted.address(before - 1))
    assert len(noted) == before - 1
