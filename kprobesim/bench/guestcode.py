"""The few lines of guest machine code that the measurements need, ready to be written."""

from __future__ import annotations

import struct

from kprobesim.arch.architecture import halves

__all__ = ["CALL_LOOP", "COMPARE_U32", "RETURN_LOOP"]


def _words(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


RETURN_LOOP = halves(
    # mov rcx, rdi; 1: call 2f; dec rcx; jne 1b; xor eax, eax; ret; 2: ret
    x86_64=bytes.fromhex("4889f9 e808000000 48ffc9 75f6 31c0 c3 c3".replace(" ", "")),
    # mov x9, x30; 1: bl 2f; subs x0, x0, #1; b.ne 1b; ret x9
    # 2: stp x29, x30, [sp, #-16]!; ldp x29, x30, [sp], #16; ret
    arm64=_words(
        *(0xAA1E03E9, 0x94000004, 0xF1000400, 0x54FFFFC1, 0xD65F0120),
        *(0xA9BF7BFD, 0xA8C17BFD, 0xD65F03C0),
    ),
)
"""f(n): calls a function that saves its return address, as any does, n times; returns 0."""

CALL_LOOP = halves(
    # push rbx; push r12; push r13; mov rbx, rdi; mov r12, rsi; mov r13, rdx
    # 1: mov rdi, r13; mov rsi, r13; call r12; dec rbx; jne 1b; pop r13; pop r12; pop rbx; ret
    x86_64=bytes.fromhex(
        "53 4154 4155 4889fb 4989f4 4989d54c89ef 4c89ee 41ffd4 48ffcb 75f2 415d 415c 5b c3".replace(
            " ", ""
        )
    ),
    # stp x29, x30, [sp, #-48]!; stp x19, x20, [sp, #16]; str x21, [sp, #32]
    # mov x19, x0; mov x20, x1; mov x21, x2
    # 1: mov x0, x21; mov x1, x21; blr x20; subs x19, x19, #1; b.ne 1b
    # ldr x21, [sp, #32]; ldp x19, x20, [sp, #16]; ldp x29, x30, [sp], #48; ret
    arm64=_words(
        *(0xA9BD7BFD, 0xA90153F3, 0xF90013F5),
        *(0xAA0003F3, 0xAA0103F4, 0xAA0203F5),
        *(0xAA1503E0, 0xAA1503E1, 0xD63F0280, 0xF1000673, 0x54FFFF81),
        *(0xF94013F5, 0xA94153F3, 0xA8C37BFD, 0xD65F03C0),
    ),
)
"""f(n, g, x): calls g(x, x) n times; returns what the last call returned."""

COMPARE_U32 = halves(
    # mov eax, [rdi]; sub eax, [rsi]; ret
    x86_64=bytes.fromhex("8b07 2b06 c3".replace(" ", "")),
    # ldr w0, [x0]; ldr w1, [x1]; sub w0, w0, w1; ret
    arm64=_words(0xB9400000, 0xB9400021, 0x4B010000, 0xD65F03C0),
)
"""cmp(a, b) for sort(): two u32 below 2**31."""
