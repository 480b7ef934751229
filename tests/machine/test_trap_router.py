"""The places that a trap goes through: their order, and who has the last word."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, GuestFault
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

BREAKPOINT = {"x86_64": b"\xcc", "arm64": bytes.fromhex("800020d4")}  # int3; brk #4
UNDEFINED = {"x86_64": b"\x0f\x0b", "arm64": bytes(4)}  # ud2; udf


def test_the_places_are_asked_in_order_until_somebody_takes_the_trap(guest: CalledKernel) -> None:
    k, seen = guest, list[str]()
    traps, address = k.machine.vcpu.traps, k.symbols["gcd"].address
    k.write(address, BREAKPOINT[k.arch])

    def emulates(vector: int) -> bool:
        seen.append("emulate")
        return False

    def declines() -> bool:
        seen.append("breakpoint")
        return False

    def answers() -> bool:
        seen.append("answer")
        k.machine.vcpu.return_to_caller(7)
        return True

    def faults(trap: Trap, regs: PtRegs) -> bool:
        seen.append("faults")
        return False

    traps.emulate.append(emulates)
    traps.breakpoint.append(declines)
    traps.faults.append(faults)
    with pytest.raises(GuestFault, match="breakpoint") as caught:
        k.call("gcd", 12, 18)
    assert caught.value.pc == address
    assert seen == ["emulate", "breakpoint", "faults"]
    seen.clear()
    traps.breakpoint.append(answers)
    assert k.call("gcd", 12, 18) == 7
    assert seen == ["emulate", "breakpoint", "answer"]


def test_a_fault_is_offered_with_its_kind_and_may_be_mended(guest: CalledKernel) -> None:
    k, seen = guest, list[Trap]()
    address = k.symbols["gcd"].address
    k.write(address, UNDEFINED[k.arch])

    def mends(trap: Trap, regs: PtRegs) -> bool:
        seen.append(trap)
        k.machine.vcpu.return_to_caller(5)
        return True

    k.machine.vcpu.traps.faults.append(mends)
    assert k.call("gcd", 12, 18) == 5
    assert [trap.kind for trap in seen] == [TrapKind.UNDEFINED]


def test_a_guest_with_handlers_of_its_own_gets_what_nobody_takes(guest: CalledKernel) -> None:
    k, seen = guest, list[tuple[str, int]]()
    traps, address = k.machine.vcpu.traps, k.symbols["gcd"].address
    k.write(address, BREAKPOINT[k.arch])

    def deliver(vector: int) -> None:
        seen.append(("deliver", vector))
        k.machine.vcpu.return_to_caller(3)

    traps.witnesses.append(lambda vector: seen.append(("witness", vector)))
    traps.deliver = deliver
    assert k.call("gcd", 12, 18) == 3
    vector = k.machine.cpu.breakpoint_vector
    assert seen == [("witness", vector), ("deliver", vector)]


def test_a_nested_call_that_fails_leaves_the_cpu_as_it_was(guest: CalledKernel) -> None:
    k, seen = guest, list[int]()
    vcpu = k.machine.vcpu
    k.write(k.symbols["fib"].address, UNDEFINED[k.arch])

    def pre_handler(p: object, regs: PtRegs) -> None:
        before, held = vcpu.regs.as_dict(), vcpu.hit_state.save()
        with pytest.raises(GuestFault):
            k.call("fib", 3)
        assert vcpu.in_handler and vcpu.depth == 1
        assert vcpu.regs is regs and regs.as_dict() == before
        assert vcpu.hit_state.save() == held
        seen.append(1)

    with k.probing("gcd", pre_handler=pre_handler):
        assert k.call("gcd", 12, 18) == 6
    assert seen == [1] and not vcpu.in_handler and vcpu.depth == 0
