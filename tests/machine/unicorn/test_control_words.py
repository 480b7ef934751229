"""Registers of the system as words: what the API says of them, at every moment."""

from __future__ import annotations

from pathlib import Path

from makers.boots import Boots

from kprobesim import CalledKernel, Kprobe
from kprobesim.arch.arm64 import system_registers
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.machine.unicorn.engine import Engine

_ENCODINGS = {
    "sctlr": system_registers.SCTLR_EL1,
    "tcr": system_registers.TCR_EL1,
    "ttbr0": system_registers.TTBR0_EL1,
    "ttbr1": system_registers.TTBR1_EL1,
    "sp_el0": system_registers.SP_EL0,
    "tpidr": system_registers.TPIDR_EL1,
}
_MSRS = {"efer": 0xC0000080, "gs_base": 0xC0000101, "kernel_gs_base": 0xC0000102}


def _by_the_api(engine: Engine, name: str) -> int:
    if name in _ENCODINGS:
        return engine.read_system(*_ENCODINGS[name])
    if name in _MSRS:
        return engine.read_msr(_MSRS[name])
    return engine.read_register(name)


def test_a_called_guest(guest: CalledKernel) -> None:
    engine = guest.machine.engine
    words = control_words(engine)
    assert words
    assert {name: word.value for name, word in words.items()} == {
        name: _by_the_api(engine, name) for name in words
    }


def test_a_guest_that_switches_tasks(boots: Boots, real_image: Path) -> None:
    k = boots.at_run_init(real_image)
    engine = k.machine.engine
    words, seen = control_words(engine), set()

    def switched(_p: Kprobe, _regs: PtRegs) -> int:
        now = {name: word.value for name, word in words.items()}
        assert now == {name: _by_the_api(engine, name) for name in words}
        seen.add(tuple(now.values()))
        return 0

    with k.probing("schedule", pre_handler=switched):
        k.run(seconds=0.5)
    assert len(seen) > 1
