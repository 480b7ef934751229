"""Emulation against the CPU: the same instruction run natively ends in the same state."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest
from arch.x86_64.x86_fakes import NAMES, FakeMemory, FakeRegs, reader
from hypothesis import given, settings
from hypothesis import strategies as st
from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc, x86_const

from kprobesim.arch.x86_64 import Options, decode, prepare

CODE, CODE_SIZE = 0x10_0000, 0x4000
ADDRESS = CODE + 0x2000
STACK, STACK_SIZE = 0x20_0000, 0x2000
GDT = 0x30_0000
REGISTERS = [getattr(x86_const, f"UC_X86_REG_R{name.upper()}") for name in NAMES[:8]]
REGISTERS += [getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in NAMES[8:]]
# Every bit that a program at privilege level 0 can hold, but for TF, which would trap.
FLAGS = st.integers(0, 0x24_7FD5).map(lambda value: value & 0x24_7ED5 | 2)
WORD = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2, 1 << 31, 1 << 32, (1 << 64) - 1])
)


@dataclass
class State:
    registers: list[int]
    flags: int
    stack: bytes = field(repr=False)
    ip: int = 0


class Native:
    """A CPU in a sea of INT3, so that whatever an instruction does next is seen."""

    def __init__(self) -> None:
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self.uc.mem_map(CODE, CODE_SIZE)
        self.uc.mem_map(STACK, STACK_SIZE)
        self.uc.mem_map(GDT, 0x1000)
        # Null, unused, the 64-bit code segment that a far return loads, and a stack segment.
        code, data = 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF
        self.uc.mem_write(GDT, struct.pack("<4Q", 0, 0, code, data))
        self.uc.reg_write(x86_const.UC_X86_REG_GDTR, (0, GDT, 0x1F, 0))
        self.uc.hook_add(UC_HOOK_INTR, self._trapped)
        # mov eax, 0x18; mov ss, eax: a far return of 32 bits goes by the stack segment's size.
        idle = State([0] * 16, 2, bytes(STACK_SIZE))
        self.run(bytes.fromhex("b818000000 8ed0"), idle)

    def _trapped(self, uc: Uc, vector: int, _: object) -> None:
        self.vector = vector
        uc.emu_stop()

    def run(self, code: bytes, start: State) -> State:
        uc = self.uc
        uc.mem_write(CODE, b"\xcc" * CODE_SIZE)
        uc.mem_write(ADDRESS, code)
        uc.ctl_remove_cache(CODE, CODE + CODE_SIZE)
        uc.mem_write(STACK, start.stack)
        for register, value in zip(REGISTERS, start.registers, strict=True):
            uc.reg_write(register, value)
        uc.reg_write(x86_const.UC_X86_REG_EFLAGS, start.flags)
        self.vector = -1
        uc.emu_start(ADDRESS, 0)
        assert self.vector == 3
        return State(
            [uc.reg_read(register) for register in REGISTERS],
            uc.reg_read(x86_const.UC_X86_REG_EFLAGS),
            bytes(uc.mem_read(STACK, STACK_SIZE)),
            uc.reg_read(x86_const.UC_X86_REG_RIP) - 1,
        )


@pytest.fixture(scope="module")
def native() -> Native:
    return Native()


def emulated(code: bytes, start: State) -> State:
    regs = FakeRegs(start.flags)
    regs.values = list(start.registers)
    memory = FakeMemory(STACK, start.stack)
    ainsn = prepare(reader(ADDRESS, code), ADDRESS, slot=None, options=Options())
    assert ainsn.emulate is not None
    ainsn.emulate(regs, memory)
    assert regs.new_ip is not None
    return State(regs.values, regs.flags, bytes(memory.data), regs.new_ip)


def compare(native: Native, code: bytes, start: State) -> None:
    real, ours = native.run(code, start), emulated(code, start)
    assert decode(code).length == len(code)
    assert ours == real, f"{code.hex()}: {ours.ip:#x} {real.ip:#x} {ours.flags:#x} {real.flags:#x}"


@st.composite
def states(draw: st.DrawFn) -> State:
    registers = [draw(WORD) for _ in NAMES]
    registers[4] = STACK + 0x1000 + draw(st.integers(0, 15))
    stack = bytearray(STACK_SIZE)
    stack[0x1000 : 0x1000 + 64] = draw(st.binary(min_size=64, max_size=64))
    return State(registers, draw(FLAGS), bytes(stack))


SHORT = st.integers(-128, 127).filter(lambda rel: not -15 <= rel < 0)
NEAR = st.integers(-0x1F00, 0x1F00).filter(lambda rel: not -15 <= rel < 0)


def rel8(rel: int) -> bytes:
    return rel.to_bytes(1, "little", signed=True)


def rel32(rel: int) -> bytes:
    return rel.to_bytes(4, "little", signed=True)


@given(st.integers(0, 15), SHORT, states(), st.sampled_from([b"", b"\x2e", b"\x3e", b"\x48"]))
def test_short_jcc(native: Native, cc: int, rel: int, start: State, prefix: bytes) -> None:
    compare(native, prefix + bytes([0x70 | cc]) + rel8(rel), start)


@given(st.integers(0, 15), NEAR, states(), st.sampled_from([b"", b"\x2e", b"\x3e", b"\x48"]))
def test_near_jcc(native: Native, cc: int, rel: int, start: State, prefix: bytes) -> None:
    compare(native, prefix + bytes([0x0F, 0x80 | cc]) + rel32(rel), start)


@given(st.integers(0xE0, 0xE3), SHORT, states(), st.sampled_from([b"", b"\x67", b"\x48"]))
@settings(max_examples=300)
def test_loops(native: Native, opcode: int, rel: int, start: State, prefix: bytes) -> None:
    compare(native, prefix + bytes([opcode]) + rel8(rel), start)


@given(st.sampled_from([b"\xe8", b"\xe9", b"\x2e\xe8", b"\x48\xe8", b"\x67\xe9"]), NEAR, states())
def test_call_and_jmp(native: Native, opcode: bytes, rel: int, start: State) -> None:
    compare(native, opcode + rel32(rel), start)


@given(SHORT, states())
def test_short_jmp(native: Native, rel: int, start: State) -> None:
    compare(native, b"\xeb" + rel8(rel), start)


@given(st.booleans(), st.integers(0, 15), NEAR, states(), st.sampled_from([b"", b"\x3e"]))
def test_register_branches(
    native: Native, call: bool, number: int, rel: int, start: State, prefix: bytes
) -> None:
    rex = b"\x41" if number & 8 else b""
    if number != 4:
        start.registers[number] = ADDRESS + rel if rel < 0 else ADDRESS + 15 + rel
    else:
        # The CPU goes to the stack, which holds no code: make it a sea of INT3 as well.
        start.stack = b"\xcc" * STACK_SIZE
    compare(native, prefix + rex + bytes([0xFF, (0xD0 if call else 0xE0) | number & 7]), start)


# (Unicorn sign-extends the immediate of RET, against the manual: none of 0x8000 and more here.)
@given(
    st.sampled_from(["c3", "f3c3", "c21000", "c2f87f", "48c3"]), st.integers(0, 0x1000), states()
)
def test_returns(native: Native, text: str, offset: int, start: State) -> None:
    push(start, (CODE + offset).to_bytes(8, "little"))
    compare(native, bytes.fromhex(text), start)


@given(st.sampled_from(["cb", "48ca0800", "ca0800", "48cb"]), st.integers(0, 0x1000), states())
def test_far_returns(native: Native, text: str, offset: int, start: State) -> None:
    code = bytes.fromhex(text)
    size = 8 if code[0] == 0x48 else 4
    push(start, (CODE + offset).to_bytes(size, "little") + (0x10).to_bytes(size, "little"))
    compare(native, code, start)


def push(start: State, data: bytes) -> None:
    at = start.registers[4] - STACK
    start.stack = start.stack[:at] + data + start.stack[at + len(data) :]


@given(st.sampled_from(["fa", "fb", "9c", "669c", "48fa", "f39c"]), states())
def test_flag_readers_and_setters(native: Native, text: str, start: State) -> None:
    compare(native, bytes.fromhex(text), start)


@given(st.sampled_from(["9d", "669d"]), st.integers(0, 2**64 - 1), states())
@settings(max_examples=300)
def test_pop_flags(native: Native, text: str, value: int, start: State) -> None:
    push(start, (value & ~0x100).to_bytes(8, "little"))
    compare(native, bytes.fromhex(text), start)
