"""Emulated instructions: worked examples, the kernel's quirks, and what a real kernel did."""

from __future__ import annotations

import pytest
from arch.x86_64.x86_fakes import MASK64, FakeMemory, FakeRegs, reader, rows

from kprobesim.arch.x86_64 import Options, prepare
from kprobesim.errors import GuestError, GuestMemoryError

A = 0xFFFF_FFFF_8100_0100
STACK = 0xFFFF_C900_0000_0000
SP = STACK + 0x80
CF, PF, ZF, SF, TF, IF, OF = 1, 4, 0x40, 0x80, 0x100, 0x200, 0x800


def run(
    code: str, regs: FakeRegs, *, strict: bool = False, stack: bytes = b"", address: int = A
) -> FakeMemory:
    """Emulate the instruction with ``stack`` at the stack pointer; the memory afterwards."""
    if not regs.sp:
        regs.sp = SP
    below = 0x80
    memory = FakeMemory(regs.sp - below, bytes(below) + stack.ljust(0x80, b"\xee"))
    read = reader(address, bytes.fromhex(code))
    ainsn = prepare(read, address, slot=None, options=Options(strict=strict))
    assert ainsn.emulate is not None
    ainsn.emulate(regs, memory)
    return memory


def quad(value: int) -> bytes:
    return value.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("code", "flags", "ip"),
    [
        ("7410", ZF, A + 0x12),
        ("7410", 0, A + 2),
        ("7510", ZF, A + 2),
        ("7510", 0, A + 0x12),
        ("0f8400010000", ZF, A + 0x106),
        ("0f8400010000", 0, A + 6),
        ("0f84f0ffffff", ZF, A - 10),
        ("7cf0", SF, A - 14),
        ("7cf0", OF, A - 14),
        ("7cf0", SF | OF, A + 2),
        ("7cf0", 0, A + 2),
        ("7cf0", ZF, A + 2),
        ("7ef0", ZF, A - 14),
        ("7ef0", ZF | SF | OF, A - 14),
        ("7ff0", ZF, A + 2),
        ("7ff0", 0, A - 14),
        ("ebfe", 0, A),
        ("eb10", 0, A + 0x12),
        ("e9fb000000", 0, A + 0x100),
        ("66e9fa000000", 0, A + 0x100),
    ],
)
def test_jumps(code: str, flags: int, ip: int) -> None:
    regs = FakeRegs(flags | 2)
    run(code, regs)
    assert (regs.new_ip, regs.sp, regs.flags) == (ip, SP, flags | 2)


def test_targets_wrap_around() -> None:
    regs = FakeRegs()
    run("eb7f", regs, address=MASK64 - 15)
    assert regs.new_ip == 0x71
    run("eb80", regs, address=0x10)
    assert regs.new_ip == MASK64 - 0x6D


def test_calls() -> None:
    for code, values, after, target in [
        ("e8fb000000", {}, A + 5, A + 0x100),
        ("66e8fa000000", {}, A + 6, A + 0x100),
        ("ffd0", {"ax": 0x1234}, A + 2, 0x1234),
        ("41ffd3", {"r11": 0x1234}, A + 3, 0x1234),
        ("ffd4", {"sp": SP}, A + 2, SP),
    ]:
        regs = FakeRegs(**values)
        memory = run(code, regs)
        assert (regs.new_ip, regs.sp) == (target, SP - 8)
        assert memory.read_u64(SP - 8) == after


def test_strict_calls() -> None:
    regs = FakeRegs(sp=SP)
    memory = run("66e8fa000000", regs, strict=True)
    assert (memory.read_u64(SP - 8), regs.new_ip) == (A + 5, A + 0x100)
    regs = FakeRegs(sp=SP)
    memory = run("ffd4", regs, strict=True)
    assert (memory.read_u64(SP - 8), regs.new_ip, regs.sp) == (A + 2, SP - 8, SP - 8)


def test_jmp_register() -> None:
    regs = FakeRegs(ax=0x1234, r9=0x5678, sp=SP)
    run("ffe0", regs)
    assert (regs.new_ip, regs.sp) == (0x1234, SP)
    run("3e41ffe1", regs)
    assert (regs.new_ip, regs.sp) == (0x5678, SP)


def test_returns() -> None:
    stack = quad(0xFFFF_FFFF_8123_4567) + quad(0x10)
    regs = FakeRegs()
    run("c3", regs, stack=stack)
    assert (regs.new_ip, regs.sp) == (0xFFFF_FFFF_8123_4567, SP + 8)
    regs = FakeRegs()
    run("c21000", regs, stack=stack)
    assert regs.sp == SP + 0x18
    regs = FakeRegs()
    run("c200ff", regs, stack=stack)  # the immediate is unsigned
    assert regs.sp == SP + 8 + 0xFF00
    regs = FakeRegs()
    run("c21000", regs, stack=stack, strict=True)
    assert regs.sp == SP + 8


def test_far_returns() -> None:
    target = 0xFFFF_FFFF_8123_4567
    for code, stack, ip, dropped in [
        ("48cb", quad(target) + quad(0x10), target, 16),
        ("48ca0800", quad(target) + quad(0x10), target, 24),
        ("cb", quad(0x10_8123_4567), 0x8123_4567, 8),
        ("66cb", quad(0x10_4567), 0x4567, 4),
    ]:
        for misaligned in range(8):
            regs = FakeRegs(sp=SP + misaligned)
            run(code, regs, stack=stack)
            assert (regs.new_ip, regs.sp) == (ip, SP + misaligned + dropped)
    regs = FakeRegs()
    with pytest.raises(GuestError, match="code segment"):
        run("48cb", regs, stack=quad(target) + quad(0x33))
    assert (regs.new_ip, regs.sp) == (None, SP)
    run("48cb", regs, stack=quad(target) + quad(0x33), strict=True)
    assert (regs.new_ip, regs.sp) == (target, SP + 8)


@pytest.mark.parametrize(
    ("strict", "count", "ip", "after"),
    [
        (False, 2, A + 7, 1),
        (False, 1, A + 2, 0),
        (False, 0, A + 7, MASK64),
        (True, 2, A + 7, 1),
        (True, 1, A + 7, 0),
        (True, 0, A + 2, MASK64),
    ],
)
def test_loop(strict: bool, count: int, ip: int, after: int) -> None:
    regs = FakeRegs(cx=count)
    run("e205", regs, strict=strict)
    assert (regs.new_ip, regs.cx) == (ip, after)


def test_loop_with_conditions_and_32_bit_counter() -> None:
    for code, flags, taken in [("e005", 0, 1), ("e005", ZF, 0), ("e105", 0, 0), ("e105", ZF, 1)]:
        for strict in (False, True):
            regs = FakeRegs(flags | 2, cx=5)
            run(code, regs, strict=strict)
            assert (regs.new_ip, regs.cx) == (A + 7 if taken else A + 2, 4)
    regs = FakeRegs(cx=0x1_0000_0000)
    run("67e205", regs)
    assert (regs.new_ip, regs.cx) == (A + 8, 0xFFFF_FFFF)
    regs = FakeRegs(cx=0x1_0000_0000)
    run("67e205", regs, strict=True)
    assert (regs.new_ip, regs.cx) == (A + 3, 0x1_FFFF_FFFF)


def test_jcxz() -> None:
    for code, count, ip in [
        ("e305", 0, A + 7),
        ("e305", 1 << 32, A + 2),
        ("67e305", 1 << 32, A + 8),
        ("67e305", 1, A + 3),
    ]:
        regs = FakeRegs(cx=count)
        run(code, regs)
        assert (regs.new_ip, regs.cx) == (ip, count)


def test_interrupt_flag() -> None:
    regs = FakeRegs(IF | ZF | 2)
    run("fa", regs)
    assert (regs.flags, regs.new_ip) == (ZF | 2, A + 1)
    run("fb", regs)
    assert (regs.flags, regs.new_ip) == (IF | ZF | 2, A + 1)


def test_push_flags() -> None:
    rf_vm = 0x3_0000
    regs = FakeRegs(0x246 | rf_vm)
    assert run("9c", regs).read_u64(SP - 8) == 0x246
    assert (regs.sp, regs.new_ip, regs.flags) == (SP - 8, A + 1, 0x246 | rf_vm)
    regs = FakeRegs(0x246 | rf_vm)
    assert run("9c", regs, strict=True).read_u64(SP - 8) == 0x246 | rf_vm
    for misaligned in range(8):
        regs = FakeRegs(0x4_0ED7, sp=SP + misaligned)
        memory = run("669c", regs, stack=b"\x11" * 16)
        at = 0x80 - 2
        assert memory.data[at - 8 : at + 10] == bytes(8) + b"\xd7\x0e" + b"\x11" * 8
        assert regs.sp == SP + misaligned - 2


def test_pop_flags() -> None:
    everything = quad(MASK64)
    regs = FakeRegs(0x2)
    run("9d", regs, stack=everything)
    # CF PF AF ZF SF TF IF DF OF IOPL NT AC ID and the bit that is always one; not RF, VM, VIF, VIP.
    assert (regs.flags, regs.sp) == (0x24_7FD7, SP + 8)
    regs = FakeRegs(0x1A_0000 | 0x1_0000 | 0xFD7)  # RF is cleared, VM VIF VIP stay
    run("9d", regs, stack=quad(0))
    assert regs.flags == 0x1A_0002
    regs = FakeRegs(0x24_0202)
    run("669d", regs, stack=quad(0xFFFF_0041))
    assert (regs.flags, regs.sp) == (0x24_0043, SP + 2)
    regs = FakeRegs(0x2)
    run("9d", regs, stack=everything, strict=True)
    assert regs.flags == MASK64


@pytest.mark.parametrize("code", ["e8fb000000", "ffd0", "9c", "669c", "c3", "48cb", "9d", "669d"])
@pytest.mark.parametrize("strict", [False, True])
def test_unmapped_stack_changes_nothing(code: str, strict: bool) -> None:
    regs = FakeRegs(0x246, sp=0x1000, ax=0x5555)
    ainsn = prepare(reader(A, bytes.fromhex(code)), A, slot=None, options=Options(strict=strict))
    assert ainsn.emulate is not None
    with pytest.raises(GuestMemoryError):
        ainsn.emulate(regs, FakeMemory(0x8000, bytes(64)))
    assert (regs.new_ip, regs.sp, regs.flags) == (None, 0x1000, 0x246)


def test_strict_vzeroupper_is_a_jump_to_the_next_instruction() -> None:
    for flags in (2, CF | 2, ZF | 2):
        regs = FakeRegs(flags)
        run("c5f877", regs, strict=True)
        assert regs.new_ip == A + 3


def test_emulation_on_linux_6_1() -> None:
    """Registers before and after, as a module's handlers saw them; strict agrees with all."""
    table = rows("linux_6_1_emulated.csv")
    assert len(table) > 70
    differing = set()
    for row in table:
        address = int(row["address"], 16)
        names = ("ax", "cx", "bx", "dx", "sp", "r10", "r11")
        after = (
            (address + int(row["ip_after"])) & MASK64,
            int(row["cx_after"], 16),
            int(row["sp_after"], 16),
            int(row["flags_after"], 16),
        )
        for strict in (False, True):
            regs = FakeRegs(int(row["flags"], 16), **{name: int(row[name], 16) for name in names})
            stack = quad(after[0] if row["bytes"] == "c3" else after[3])
            run(row["bytes"], regs, strict=strict, stack=stack, address=address)
            if (regs.new_ip, regs.cx, regs.sp, regs.flags) != after:
                differing.add((row["name"], strict))
    assert differing <= {("loop", False), ("loopne", False), ("loope", False)}
