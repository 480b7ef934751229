"""Every simulation against the same instruction executed by the CPU emulator."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from arch.arm64.arm64_fakes import FakeMemory, FakeRegs
from hypothesis import given
from hypothesis import strategies as st
from unicorn import (
    UC_ARCH_ARM64,
    UC_ERR_EXCEPTION,
    UC_ERR_FETCH_UNMAPPED,
    UC_MODE_ARM,
    Uc,
    UcError,
    arm64_const,
)

from kprobesim.arch.arm64.decode import emulate_kind
from kprobesim.arch.arm64.options import Options
from kprobesim.arch.arm64.simulate import build

RAM, SIZE = 0x4000_0000, 0x40_0000
X = [getattr(arm64_const, f"UC_ARM64_REG_X{n}") for n in range(31)]
Q = [getattr(arm64_const, f"UC_ARM64_REG_Q{n}") for n in range(32)]
PC, PSTATE = arm64_const.UC_ARM64_REG_PC, arm64_const.UC_ARM64_REG_PSTATE
NZCV = arm64_const.UC_ARM64_REG_NZCV
#: Something different at every address that a literal load can reach.
CONTENT = b"".join(struct.pack("<I", n * 0x9E3779B1 & 0xFFFFFFFF) for n in range(SIZE // 4))


class Cpu:
    """An ARM64 at EL1 with the MMU off, which executes one instruction at a time."""

    def __init__(self) -> None:
        self.uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.uc.mem_map(RAM, SIZE)
        self.uc.mem_write(RAM, CONTENT)
        self.uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)

    def execute(self, word: int, address: int, x: list[int], nzcv: int) -> FakeRegs:
        uc = self.uc
        uc.mem_write(address, struct.pack("<I", word))
        uc.ctl_remove_cache(address, address + 4)
        for number, value in zip(X, x, strict=True):
            uc.reg_write(number, value)
        for number in Q:
            uc.reg_write(number, (1 << 128) - 1)
        uc.reg_write(NZCV, nzcv << 28)
        try:
            uc.emu_start(address, address ^ 1 << 62, count=1)
        except UcError as error:
            # After the branch: nothing is mapped at most targets, and some are not aligned.
            if error.errno not in (UC_ERR_FETCH_UNMAPPED, UC_ERR_EXCEPTION):
                raise
            assert uc.reg_read(PC) != address, "the instruction itself failed"
        finally:
            start = address - RAM
            uc.mem_write(address, CONTENT[start : start + 4])
        regs = FakeRegs(dict(enumerate(uc.reg_read(number) for number in X)))
        regs.new_pc = uc.reg_read(PC)
        regs.v = {n: (uc.reg_read(q), 16) for n, q in enumerate(Q)}
        return regs


@pytest.fixture(scope="module")
def cpu() -> Cpu:
    return Cpu()


def field(bits: int, shift: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1).map(lambda value: value << shift)


def instruction(*parts: int | st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """Words made of constants (one of a list is drawn) and fields."""
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*drawn).map(lambda values: sum(values))


def one_of(*values: int) -> st.SearchStrategy[int]:
    return st.sampled_from(values)


WORDS = {
    "b_bl": instruction(one_of(0x14000000, 0x94000000), field(26, 0)),
    "b_cond": instruction(0x54000000, field(19, 5), field(4, 0)),
    "cbz_cbnz": instruction(
        one_of(0x34000000, 0x35000000, 0xB4000000, 0xB5000000), field(19, 5), field(5, 0)
    ),
    "tbz_tbnz": instruction(
        one_of(0x36000000, 0x37000000), field(1, 31), field(5, 19), field(14, 5), field(5, 0)
    ),
    "br_blr_ret": instruction(one_of(0xD61F0000, 0xD63F0000, 0xD65F0000), field(5, 5)),
    "adr_adrp": instruction(
        one_of(0x10000000, 0x90000000), field(2, 29), field(19, 5), field(5, 0)
    ),
    "ldr_literal": instruction(one_of(0x18000000, 0x58000000), field(19, 5), field(5, 0)),
    "ldrsw_literal": instruction(0x98000000, field(19, 5), field(5, 0)),
    "ldr_simd_literal": instruction(
        one_of(0x1C000000, 0x5C000000, 0x9C000000), field(19, 5), field(5, 0)
    ),
    "nop": st.just(0xD503201F),
}

ADDRESS = st.integers(SIZE // 3 // 4, SIZE * 2 // 3 // 4).map(lambda n: RAM + 4 * n)
# Zeroes and single bits, or half of the branches would never be seen to fall through.
VALUE = st.one_of(
    st.just(0),
    st.integers(0, 63).map(lambda bit: 1 << bit),
    st.integers(0, (1 << 64) - 1),
)
STATE = st.tuples(ADDRESS, st.lists(VALUE, min_size=31, max_size=31), st.integers(0, 15))


def compare(cpu: Cpu, kind: str, word: int, state: tuple[int, list[int], int]) -> None:
    address, x, nzcv = state
    assert emulate_kind(word, Options(simulate_nop=True)) == kind
    simulated = FakeRegs(dict(enumerate(x)), nzcv << 28 | 5)
    # A literal load of the instruction itself sees the instruction.
    content = bytearray(CONTENT)
    struct.pack_into("<I", content, address - RAM, word)
    build(kind, word, address)(simulated, FakeMemory(RAM, content))  # type: ignore[arg-type]
    executed = cpu.execute(word, address, x, nzcv)
    assert simulated.x == executed.x
    assert simulated.new_pc == executed.new_pc
    untouched = dict.fromkeys(range(32), ((1 << 128) - 1, 16))
    assert untouched | {n: (value, 16) for n, (value, _) in simulated.v.items()} == executed.v


def property_of(kind: str) -> Callable[[Cpu], None]:
    @given(word=WORDS[kind], state=STATE)
    def check(cpu: Cpu, word: int, state: tuple[int, list[int], int]) -> None:
        compare(cpu, kind, word, state)

    return check  # type: ignore[return-value]


test_b_bl = property_of("b_bl")
test_b_cond = property_of("b_cond")
test_cbz_cbnz = property_of("cbz_cbnz")
test_tbz_tbnz = property_of("tbz_tbnz")
test_br_blr_ret = property_of("br_blr_ret")
test_adr_adrp = property_of("adr_adrp")
test_ldr_literal = property_of("ldr_literal")
test_ldrsw_literal = property_of("ldrsw_literal")
test_ldr_simd_literal = property_of("ldr_simd_literal")
test_nop = property_of("nop")


@pytest.mark.parametrize("cond", range(16))
def test_every_condition_under_all_flags(cpu: Cpu, cond: int) -> None:
    for nzcv in range(16):
        compare(cpu, "b_cond", 0x54000040 | cond, (RAM + SIZE // 2, [0] * 31, nzcv))
