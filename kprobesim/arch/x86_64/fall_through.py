"""Which instructions are followed by the one behind them, whatever registers and memory hold.

After a fault they are done again; a REP instruction comes to itself until it is done. Those that
stop the CPU count as others, because nothing follows them for a while. (SDM, volume 2.)
"""

from __future__ import annotations

from kprobesim.arch.x86_64.emulate import emulate_kind
from kprobesim.arch.x86_64.insn import Insn

__all__ = ["falls_through", "repeats"]

_ONE_BYTE = frozenset(
    (0x62, 0x9A, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD6, 0xEA, 0xF1, 0xF4)
)  # far branches, INT, IRET, HLT, and what is no instruction in 64-bit mode
_TWO_BYTES = frozenset(
    (0x05, 0x07, 0x0B, 0x34, 0x35, 0x37, 0xAA, 0xB9, 0xFF)
)  # SYSCALL, SYSRET, SYSENTER, SYSEXIT, GETSEC, RSM, UD
_STRINGS = frozenset((*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0)))
_REP = frozenset((0xF2, 0xF3))
_VIRTUALIZATION = b"\x0f\x01"  # also MONITOR and MWAIT
_GROUPS = {
    (0xFF, True): (2, 3, 4, 5),  # CALL, JMP
    (0xFF, False): (2, 3, 4, 5),
    (0xC6, True): (7,),  # XABORT
    (0xC7, True): (7,),  # XBEGIN
}


def falls_through(insn: Insn) -> bool:
    """Whether the instruction behind ``insn`` comes next, if it does not fault."""
    if insn.vex is not None:
        return True
    opcode = insn.opcode
    if opcode[0] == 0x0F:
        if opcode == _VIRTUALIZATION and insn.is_register_form:
            return False
        if len(opcode) == 2 and opcode[1] in _TWO_BYTES:
            return False
    elif opcode[0] in _ONE_BYTE or insn.reg in _GROUPS.get((opcode[0], insn.is_register_form), ()):
        return False
    return emulate_kind(insn) is None


def repeats(insn: Insn) -> bool:
    """Whether ``insn`` comes to itself until it is done: a string instruction with REP."""
    return insn.vex is None and insn.opcode[0] in _STRINGS and not _REP.isdisjoint(insn.prefixes)
