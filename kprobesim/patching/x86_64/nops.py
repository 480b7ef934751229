"""The NOPs of x86: what they look like, and how the kernel merges them.

Runs of one-byte NOPs in a patched place become as few and as long NOPs as possible
(optimize_nops(), arch/x86/kernel/alternative.c).
"""

from __future__ import annotations

from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode

__all__ = ["NOPS", "is_nop", "nops", "optimize_nops", "optimize_nops_5_10", "optimize_nops_6_1"]

#: By length (P6 NOPs, asm/nops.h); beyond 8 bytes with more prefixes, since 6.4.
NOPS = (
    b"",
    bytes.fromhex("90"),
    bytes.fromhex("6690"),
    bytes.fromhex("0f1f00"),
    bytes.fromhex("0f1f4000"),
    bytes.fromhex("0f1f440000"),
    bytes.fromhex("660f1f440000"),
    bytes.fromhex("0f1f8000000000"),
    bytes.fromhex("0f1f840000000000"),
    bytes.fromhex("2e0f1f840000000000"),
    bytes.fromhex("662e0f1f840000000000"),
    bytes.fromhex("66662e0f1f840000000000"),
)
_OLD_MAX = 8
_JMP8, _JMP32, _INT3 = 0xEB, 0xE9, 0xCC


def nops(size: int, longest: int = _OLD_MAX) -> bytes:
    """``size`` bytes of NOPs, the longest first."""
    whole, rest = divmod(size, longest)
    return NOPS[longest] * whole + NOPS[rest]


def _filling(size: int) -> bytes:
    """What 6.4 and later put for ``size`` bytes of NOPs: beyond eleven a jump over INT3s."""
    if size < len(NOPS):
        return NOPS[size]
    if size < 128:
        return bytes([_JMP8, size - 2]) + bytes([_INT3]) * (size - 2)
    return bytes([_JMP32]) + (size - 5).to_bytes(4, "little") + bytes([_INT3]) * (size - 5)


def is_nop(insn: Insn) -> bool:
    """Whether it is one that the kernel knows as a NOP (insn_is_nop(), asm/insn.h)."""
    if insn.rex or insn.vex:
        return False
    if insn.opcode == b"\x90":
        return 0xF3 not in insn.prefixes  # PAUSE
    return insn.opcode == b"\x0f\x1f" and insn.reg == 0


def optimize_nops_5_10(code: bytearray, padding: int) -> None:
    """Merge the ``padding`` at the end of a place, if nothing but NOPs stand before it, too."""
    if padding > 1 and code[:padding] == b"\x90" * padding:
        code[len(code) - padding :] = nops(padding)


def optimize_nops_6_1(code: bytearray) -> None:
    """Merge each run of one-byte NOPs (5.13 to 6.3)."""
    if b"\x90\x90" not in code:
        return
    at = 0
    while at < len(code):
        if code[at] == 0x90:
            end = at
            while end < len(code) and code[end] == 0x90:
                end += 1
            code[at:end] = nops(end - at)
            at = end
            continue
        try:
            at += decode(code, at).length
        except Undecodable:
            return


def optimize_nops(code: bytearray, *, with_jumps: bool = False) -> None:
    """Merge each run of NOPs of any length (6.4 and later).

    ``with_jumps``: also with the jump that skips it (before 6.10).
    """
    at = jump = target = 0
    while at < len(code):
        try:
            insn = decode(code, at)
        except Undecodable:
            return
        start, at = at, at + insn.length
        if is_nop(insn):
            at = _skip_nops(code, at)
            if with_jumps and target and at == target:
                start = jump
            code[start:at] = _filling(at - start)
        elif insn.opcode[0] in (_JMP8, _JMP32):
            jump, target = start, at + insn.imm
        else:
            target = 0


def _skip_nops(code: bytearray, at: int) -> int:
    """Where the run of NOPs ends that goes on at ``at``."""
    while at < len(code):
        try:
            insn = decode(code, at)
        except Undecodable:
            break
        if not is_nop(insn):
            break
        at += insn.length
    return at
