"""Barriers and atomics of x86-64, told from their bytes (Intel SDM, volume 3, 9.2 and 9.3)."""

from __future__ import annotations

from kprobesim.arch.ordering import Ordering
from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode

__all__ = ["ordering"]

_LOCK, _DS = 0xF0, 0x3E
_XCHG = frozenset((b"\x86", b"\x87"))
_GROUP_5, _BRANCHES = b"\xff", frozenset((2, 3, 4, 5))  # CALL and JMP, by reg
_STREAMING = frozenset((b"\x0f\xc3", b"\x0f\x2b", b"\x0f\xe7"))  # MOVNTI, MOVNTPS, MOVNTDQ
# CPUID, WRMSR, writes of control and debug registers, WBINVD, INVD, IRET, INVPCID, RSM; port I/O.
_WAIT = frozenset(
    bytes.fromhex(code)
    for code in "0fa2 0f30 0f22 0f23 0f09 0f08 cf 0f3882 0faa e4 e5 e6 e7 ec ed ee ef".split()
)
_GROUP_15 = b"\x0f\xae"
_MFENCE, _SFENCE = 6, 7  # of group 15
_SERIALIZE = 0xE8
# LGDT, LIDT, INVLPG of group 7, LLDT and LTR of group 6: reg by opcode.
_GROUPS = {b"\x0f\x01": frozenset((2, 3, 7)), b"\x0f\x00": frozenset((2, 3))}


def ordering(code: bytes) -> Ordering:
    """What the instruction at the beginning of ``code`` is."""
    try:
        insn = decode(code)
    except Undecodable:
        return Ordering.PLAIN
    if insn.vex is not None:
        return Ordering.PLAIN
    if insn.modrm is not None and not insn.is_register_form:
        # alternatives_smp_unlock() writes DS where LOCK was as long as there is one CPU; compilers
        # write it before branches only.
        branches = insn.opcode == _GROUP_5 and insn.reg in _BRANCHES
        locked = _LOCK in insn.prefixes or (_DS in insn.prefixes and not branches)
        if insn.opcode in _STREAMING:
            return Ordering.STREAMING
        if locked or insn.opcode in _XCHG:
            return Ordering.ATOMIC | Ordering.FULL
    if insn.opcode == _GROUP_15 and insn.is_register_form and insn.reg == _SFENCE:
        return Ordering.STORES
    return Ordering.FULL if _waits(insn) else Ordering.PLAIN


def _waits(insn: Insn) -> bool:
    opcode = insn.opcode
    if opcode in _WAIT:
        return True
    if opcode == _GROUP_15:
        return insn.is_register_form and insn.reg == _MFENCE
    if opcode == b"\x0f\x01" and insn.is_register_form:
        return insn.modrm == _SERIALIZE and not insn.prefixes
    return insn.reg in _GROUPS.get(opcode, ())
