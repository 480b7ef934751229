"""What x86-64 instructions do to argument registers.

Only instructions that compilers use much are understood; any other reads all registers, so that no
argument is taken for lost that is not.
"""

from __future__ import annotations

from kprobesim.arch.architecture import X86_64
from kprobesim.arch.x86_64.insn import Insn, decode
from kprobesim.functions.effects import ALL, Effect, Leads

__all__ = ["effect"]

#: The bit of each register, by its number; none for those that carry no argument.
_BITS = tuple(
    1 << X86_64.abi.arguments.index(name) if name in X86_64.abi.arguments else 0
    for name in X86_64.abi.registers
)
_DI, _SI, _DX, _CX = (_BITS[number] for number in X86_64.abi.numbers(("di", "si", "dx", "cx")))

_BRANCHES = range(0x70, 0x80)
_NEAR_BRANCHES = range(0x80, 0x90)
#: Arithmetic with ModR/M; and with the accumulator, which carries no argument.
_ALU = frozenset(op + form for op in range(0, 0x40, 8) for form in range(4))
_ACCUMULATOR = frozenset(op + form for op in range(0, 0x40, 8) for form in (4, 5))
#: PUSH imm, NOP, CWDE, PUSHF, POPF, TEST, LEAVE, INT3, HLT, CLI, STI, CLD, STD.
_NO_ARGUMENTS = _ACCUMULATOR.union(
    (0x68, 0x6A, 0x90, 0x98, 0x9C, 0x9D, 0xA8, 0xA9, 0xC9, 0xCC, 0xF4, 0xFA, 0xFB, 0xFC, 0xFD)
)
#: Their operands are those of ModR/M, and all are read: TEST, XCHG, group 1, shifts, INC and DEC.
_READ_ALL = (
    _ALU
    | {0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x8A, 0xC0, 0xC1, 0xC6}
    | {*(0xD0, 0xD1, 0xFE)}
)
_SHIFTS_BY_CL = frozenset((0xD2, 0xD3))
#: reg := a function of r/m, in 32 or 64 bits: MOV, LEA, MOVSXD, IMUL with an immediate.
_TO_REG = frozenset((0x8B, 0x8D, 0x63, 0x69, 0x6B))
#: The same behind 0F: MOVZX, MOVSX; POPCNT, TZCNT and LZCNT are left out, for BSF keeps its target.
_TO_REG_0F = frozenset((0xB6, 0xB7, 0xBE, 0xBF))
#: Behind 0F, all of ModR/M's operands are read: CMOVcc, SETcc, BTx, SHLD, IMUL, CMPXCHG, XADD.
_READ_ALL_0F = frozenset(
    (
        *(*range(0x40, 0x50), *range(0x90, 0xA0), 0xA3, 0xA4, 0xAB, 0xAC, 0xAF, 0xB0, 0xB1, 0xB3),
        *(0xB8, 0xBA, 0xBB, 0xBC, 0xBD, 0xC0, 0xC1),
    )
)
#: Behind 0F, nothing is read: UD2, ENDBR and NOPs, prefetches.
_NONE_0F = frozenset((0x0B, 0x0D, 0x18, 0x1E, 0x1F))


def effect(code: bytes, offset: int, address: int) -> Effect:
    """What the instruction at ``offset`` of ``code`` does, which is at ``address``.

    Raises:
        Undecodable: There is none.
    """
    insn = decode(code, offset)
    opcode = insn.opcode
    if insn.vex is not None:
        return Effect(insn.length, ALL)
    if len(opcode) == 1:
        return _one_byte(insn, opcode[0], address)
    if len(opcode) == 2:
        return _two_bytes(insn, opcode[1], address)
    return Effect(insn.length, ALL)


def _one_byte(insn: Insn, op: int, address: int) -> Effect:
    size = insn.length
    end = address + size
    if op == 0xE8:
        return Effect(size, leads=Leads.CALL, target=end + insn.imm)
    if op in (0xE9, 0xEB):
        return Effect(size, leads=Leads.JUMP, target=end + insn.imm)
    if op in _BRANCHES:
        return Effect(size, leads=Leads.BRANCH, target=end + insn.imm)
    if op in (0xC2, 0xC3):
        return Effect(size, leads=Leads.AWAY)
    if op in _NO_ARGUMENTS:
        return Effect(size)
    if op == 0x99:
        return Effect(size, 0, _DX)
    low = op & 7 | (insn.rex & 1) << 3
    if 0x50 <= op < 0x58:
        return Effect(size, _BITS[low])
    if 0x58 <= op < 0x60 or 0xB8 <= op < 0xC0:
        return Effect(size, 0, _BITS[low])
    if insn.modrm is None:
        return Effect(size, ALL)
    wide = insn.opnd_bytes >= 4
    if op in (0x29, 0x2B, 0x31, 0x33) and _same_register(insn) and wide:
        return Effect(size, 0, _BITS[_reg(insn)])
    if op in _TO_REG:
        target = _BITS[_reg(insn)]
        return Effect(size, _rm(insn), target) if wide else Effect(size, _rm(insn) | target)
    if op == 0x89 or (op == 0xC7 and insn.reg == 0):
        source = _BITS[_reg(insn)] if op == 0x89 else 0
        if insn.is_register_form and wide:
            return Effect(size, source, _BITS[insn.rm_register])
        return Effect(size, source | _rm(insn))
    high = _high_bytes(insn) if not op & 1 else 0
    if op in _READ_ALL:
        return Effect(size, _BITS[_reg(insn)] * _has_register(op) | _rm(insn) | high)
    if op in _SHIFTS_BY_CL:
        return Effect(size, _CX | _rm(insn) | high)
    if op == 0xF6:
        return Effect(size, _rm(insn) | high)
    if op == 0xF7:
        if insn.reg in (4, 5):  # MUL, IMUL
            return Effect(size, _rm(insn), _DX)
        return Effect(size, _rm(insn) | (_DX if insn.reg > 5 else 0))
    if op == 0xFF and insn.reg in (0, 1, 6):
        return Effect(size, _rm(insn))
    return Effect(size, ALL)  # calls and jumps through registers for one


def _two_bytes(insn: Insn, op: int, address: int) -> Effect:
    size = insn.length
    if op in _NEAR_BRANCHES:
        return Effect(size, leads=Leads.BRANCH, target=address + size + insn.imm)
    if op in _NONE_0F:
        return Effect(size)
    if insn.modrm is None:
        return Effect(size, 0, _DX) if op == 0x31 else Effect(size, ALL)  # RDTSC
    if op in _TO_REG_0F:
        source = _rm(insn) | (_high_bytes(insn) if not op & 1 else 0)
        return (
            Effect(size, source, _BITS[_reg(insn)]) if insn.opnd_bytes >= 4 else Effect(size, ALL)
        )
    if op in _READ_ALL_0F:
        return Effect(size, _BITS[_reg(insn)] * (op != 0xBA) | _rm(insn) | _high_bytes(insn))
    if op == 0x01 and insn.modrm in (0xCA, 0xCB):  # CLAC, STAC
        return Effect(size)
    if op == 0xAE and insn.is_register_form and insn.reg >= 5:  # fences
        return Effect(size)
    return Effect(size, ALL)


def _has_register(op: int) -> bool:
    """Whether ModR/M.reg names a register, not a part of the opcode."""
    return op not in (0x80, 0x81, 0x83, 0xC0, 0xC1, 0xC6, 0xD0, 0xD1, 0xFE)


def _reg(insn: Insn) -> int:
    return insn.reg | (insn.rex & 4) << 1


def _same_register(insn: Insn) -> bool:
    return insn.is_register_form and _reg(insn) == insn.rm_register


def _high_bytes(insn: Insn) -> int:
    """Of an instruction with operands of a byte: the registers whose second byte it may name.

    Without a REX prefix, AH, CH, DH and BH have the numbers of SP, BP, SI and DI.
    """
    if insn.rex:
        return 0
    numbers = (insn.reg, insn.rm_register if insn.is_register_form else 0)
    return sum({_BITS[number - 4] for number in numbers if 4 <= number < 8})


def _rm(insn: Insn) -> int:
    """The registers that the operand of ModR/M.rm is, or is addressed by."""
    modrm = insn.modrm or 0
    if insn.is_register_form:
        return _BITS[insn.rm_register]
    if insn.sib is None:
        return 0 if insn.is_rip_relative else _BITS[insn.rm_register]
    index = insn.sib >> 3 & 7 | (insn.rex & 2) << 2
    base = insn.sib & 7 | (insn.rex & 1) << 3
    no_base = modrm < 0x40 and insn.sib & 7 == 5
    return (_BITS[index] if index != 4 else 0) | (0 if no_base else _BITS[base])
