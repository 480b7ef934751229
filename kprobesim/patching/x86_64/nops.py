"""The NOPs of x86: what they look like, and how the kernel merges them.

Runs of one-byte NOPs in a patched place become as few and as long NOPs as possible
(optimize_nops(), arch/x86/kernel/alternative.c).
"""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode

__all__ = [
    "K8_NOPS",
    "NOPS",
    "atomic_nop",
    "is_nop",
    "nop_table",
    "nops",
    "optimize_nops",
    "optimize_nops_5_10",
    "optimize_nops_6_1",
]

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
#: Until 5.12 a kernel chose by its CPU: AMD's family 15, which images are judged for, gets these.
#: Several are two instructions.
K8_NOPS = (
    b"",
    bytes.fromhex("90"),
    bytes.fromhex("6690"),
    bytes.fromhex("666690"),
    bytes.fromhex("66666690"),
    bytes.fromhex("666690 6690"),
    bytes.fromhex("666690 666690"),
    bytes.fromhex("66666690 666690"),
    bytes.fromhex("66666690 66666690"),
)
_K8_ATOMIC = bytes.fromhex("6666666690")  # where another CPU may run while it is written
_K8_BEFORE = (5, 13)
_OLD_MAX = 8
_JMP8, _JMP32, _INT3 = 0xEB, 0xE9, 0xCC


def nop_table(version: tuple[int, ...]) -> tuple[bytes, ...]:
    """By length up to eight bytes, those that a kernel of that version fills up with."""
    return K8_NOPS if version[:2] < _K8_BEFORE else NOPS[: _OLD_MAX + 1]


def nops(size: int, table: Sequence[bytes] = NOPS[: _OLD_MAX + 1]) -> bytes:
    """``size`` bytes of NOPs, the longest first (add_nops())."""
    longest = len(table) - 1
    whole, rest = divmod(size, longest)
    return table[longest] * whole + table[rest]


def atomic_nop(version: tuple[int, ...]) -> bytes:
    """The NOP of five bytes that is one instruction, in place of a call or jump."""
    return _K8_ATOMIC if version[:2] < _K8_BEFORE else NOPS[5]


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
        code[len(code) - padding :] = nops(padding, K8_NOPS)


def optimize_nops_6_1(code: bytearray, table: Sequence[bytes] = NOPS[: _OLD_MAX + 1]) -> None:
    """Merge each run of one-byte NOPs (5.13 to 6.3, and late kernels of the line 5.10)."""
    if b"\x90\x90" not in code:
        return
    at = 0
    while at < len(code):
        if code[at] == 0x90:
            end = at
            while end < len(code) and code[end] == 0x90:
                end += 1
            code[at:end] = nops(end - at, table)
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
