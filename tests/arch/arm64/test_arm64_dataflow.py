"""Which registers instructions of ARM64 depend on, and what order they make."""

from __future__ import annotations

import random

import capstone
import pytest
from capstone import arm64_const

from kprobesim.arch.arm64.dataflow import EVERYTHING, bits_of, dataflow
from kprobesim.arch.arm64.ordering import ordering
from kprobesim.arch.ordering import Ordering

SP, FLAGS, V0 = 31, 32, 40


@pytest.mark.parametrize(
    ("word", "addresses", "sources", "computed", "loaded", "decides"),
    [
        (0xF940_0441, {2}, set(), set(), {1}, set()),  # ldr x1, [x2, #8]
        (0xF840_8441, {2}, set(), {2}, {1}, set()),  # ldr x1, [x2], #8
        (0xF863_6841, {2, 3}, set(), set(), {1}, set()),  # ldr x1, [x2, x3]
        (0xF900_0441, {2}, {1}, set(), set(), set()),  # str x1, [x2, #8]
        (0xA9BF_0BE1, {SP}, {1, 2}, {SP}, set(), set()),  # stp x1, x2, [sp, #-16]!
        (0xC85F_7C41, {2}, set(), set(), {1}, set()),  # ldxr x1, [x2]
        (0xC801_7C62, {3}, {2}, {1}, set(), set()),  # stxr w1, x2, [x3]
        (0xF821_0062, {3}, {1}, set(), {2}, set()),  # ldadd x1, x2, [x3]
        (0xC8A1_7C62, {3}, {1, 2}, set(), {1}, set()),  # cas x1, x2, [x3]
        (0xF8BF_C041, {2}, set(), set(), {1}, set()),  # ldapr x1, [x2]
        (0x8B02_0020, set(), {1, 2}, {0}, set(), set()),  # add x0, x1, x2
        (0xEB02_003F, set(), {1, 2}, {FLAGS}, set(), set()),  # cmp x1, x2
        (0x5400_0040, set(), set(), set(), set(), {FLAGS}),  # b.eq
        (0xB400_0041, set(), set(), set(), set(), {1}),  # cbz x1
        (0xD65F_03C0, set(), set(), set(), set(), {30}),  # ret
        (0x9A82_0020, set(), {1, 2, FLAGS}, {0}, set(), set()),  # csel x0, x1, x2, eq
        (0xF280_0020, set(), {0}, {0}, set(), set()),  # movk x0, #1
        (0x3DC0_0041, {2}, set(), set(), {V0 + 1}, set()),  # ldr q1, [x2]
    ],
)
def test_what_an_instruction_depends_on(
    word: int,
    addresses: set[int],
    sources: set[int],
    computed: set[int],
    loaded: set[int],
    decides: set[int],
) -> None:
    found = [{*bits_of(registers)} for registers in dataflow(word)[:5]]
    assert found == [addresses, sources, computed, loaded, decides]


def test_both_halves_of_a_pair_are_told_apart() -> None:
    found = dataflow(0x2940_0C13)  # ldp w19, w3, [x0]
    assert (bits_of(found.loaded), bits_of(found.second)) == ((3, 19), (3,))


def test_no_register_that_is_named_is_forgotten() -> None:
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, 0)
    engine.detail = True
    numbers, seen = random.Random(1), 0
    for _ in range(20_000):
        word = numbers.getrandbits(32)
        for insn in engine.disasm(word.to_bytes(4, "little"), 0):
            found = dataflow(word)
            if found.sources == EVERYTHING:
                continue
            seen += 1
            named = 0
            for operand in insn.operands:
                if operand.type == arm64_const.ARM64_OP_REG:
                    named |= _bit(insn.reg_name(operand.reg))
                elif operand.type == arm64_const.ARM64_OP_MEM:
                    for number in (operand.mem.base, operand.mem.index):
                        named |= _bit(insn.reg_name(number)) if number else 0
            known = found.addresses | found.sources | found.computed | found.loaded | found.decides
            assert not named & ~known, (hex(word), insn.mnemonic, insn.op_str)
    assert seen > 5_000


def _bit(name: str) -> int:
    if name in ("xzr", "wzr"):
        return 0
    fixed = {"sp": SP, "wsp": SP, "fp": 29, "lr": 30}
    if name in fixed:
        return 1 << fixed[name]
    if not name[1:].isdigit():
        return 0
    return 1 << int(name[1:]) + (0 if name[0] in "xw" else V0)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0xD503_3DBF, Ordering.LOADS),  # dmb ld
        (0xD503_3ABF, Ordering.STORES),  # dmb ishst
        (0xD503_3BBF, Ordering.FULL),  # dmb ish
        (0xD503_3FDF, Ordering.CONTEXT),  # isb
        (0xD503_201F, Ordering.PLAIN),  # nop
        (0xF940_0041, Ordering.PLAIN),  # ldr
        (0xC89F_FC41, Ordering.RELEASE),  # stlr
        (0x9900_4041, Ordering.RELEASE),  # stlur
        (0xC8DF_FC41, Ordering.ACQUIRE),  # ldar
        (0xF8BF_C041, Ordering.ACQUIRE_PC),  # ldapr
        (0xC85F_7C41, Ordering.EXCLUSIVE),  # ldxr
        (0xC85F_FC41, Ordering.EXCLUSIVE | Ordering.ACQUIRE),  # ldaxr
        (0xC801_7C62, Ordering.ATOMIC),  # stxr
        (0xC801_FC62, Ordering.ATOMIC | Ordering.RELEASE),  # stlxr
        (0xF821_0062, Ordering.ATOMIC),  # ldadd
        (0xF8A1_0062, Ordering.ATOMIC | Ordering.ACQUIRE),  # ldadda
        (0xF8A1_007F, Ordering.ATOMIC),  # ldadda into xzr
        (0xF861_0062, Ordering.ATOMIC | Ordering.RELEASE),  # ldaddl
        (0xC8E1_FC62, ~Ordering.PLAIN),  # casal: all of them
        (0xF8E1_8062, ~Ordering.PLAIN),  # swpal
    ],
)
def test_what_order_an_instruction_makes(word: int, expected: Ordering) -> None:
    found = ordering(word.to_bytes(4, "little"))
    if expected == ~Ordering.PLAIN:
        barrier = Ordering.FULL | Ordering.ACQUIRE | Ordering.RELEASE
        expected = barrier | Ordering.ATOMIC
    assert found == expected
