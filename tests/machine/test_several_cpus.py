"""Several CPUs: register files of one engine, of which one is in force."""

from __future__ import annotations

import ctypes

import pytest

from kprobesim import CalledKernel, GuestFault
from kprobesim.machine.trap import TrapKind


def test_each_cpu_has_registers_of_its_own(guest: CalledKernel) -> None:
    system = guest.machine
    one = system.add_vcpu()
    assert (one.number, system.vcpu.number, system.vcpus) == (1, 0, [system.vcpu, one])
    result = system.cpu.regs_class.RETURN
    system.words[result] = 7
    system.switch_to(1)
    system.words[result] = 8
    system.switch_to(1)  # it runs already
    assert (system.vcpu, system.number_word[0]) == (one, 1)
    assert system.vcpus[0].saved_regs().return_value == 7
    assert one.saved_regs().return_value == system.words[result] == 8
    system.switch_to(0)
    assert (system.words[result], one.saved_regs().return_value) == (7, 8)
    assert guest.call("gcd", 12, 18) == 6


def test_words_of_compiled_code_follow_the_cpu(guest: CalledKernel) -> None:
    system, words = guest.machine, (ctypes.c_uint64 * 2)(1, 2)
    system.per_cpu_words(words)
    system.add_vcpu()
    system.switch_to(1)
    words[0] = 5
    system.switch_to(0)
    assert list(words) == [1, 2]
    system.switch_to(1)
    assert list(words) == [5, 2]


def test_a_trap_goes_to_the_cpu_that_runs(guest: CalledKernel) -> None:
    system, seen = guest.machine, list[int]()
    system.add_vcpu()
    for vcpu in system.vcpus:

        def note(vector: int, number: int = vcpu.number) -> bool:
            seen.append(number)
            return False

        vcpu.traps.emulate.append(note)
    guest.write(guest.symbols["gcd"].address, guest.machine.isa.trap)
    for number in (0, 1, 0):
        system.switch_to(number)
        system.vcpu.regs.ip = guest.symbols["gcd"].address
        with pytest.raises(GuestFault) as caught:
            system.engine.run(system.vcpu.regs.ip, 10)
        assert caught.value.trap.kind is not TrapKind.HALT
    assert seen == [0, 1, 0]
