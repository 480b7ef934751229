"""Machine code for the host: the registers before an instruction, copied behind those before.

``recorded`` is a :class:`~kprobesim.machine.unicorn.native.Native` function whose data are the
words :data:`AREA`. A record is the instruction's address and then the registers.
"""

from __future__ import annotations

__all__ = ["AREA", "CODE"]

AREA = ("registers", "sp", "low", "span", "next", "end", "count", "full")
"""Where the registers are, and among them the stack pointer, in bytes; the lowest stack pointer
that counts, and how many there are; where the next record goes, and where there is no more room;
how many registers are copied; and what is called in the place of ``recorded`` when there is no
room."""

_X86_64 = """
recorded:
    488b01                  mov rax, [rcx]
    4c8b4108                mov r8, [rcx + 8]
    4e8b0400                mov r8, [rax + r8]
    4c2b4110                sub r8, [rcx + 16]
    4c3b4118                cmp r8, [rcx + 24]
    7322                    jae recorded_end
    488b7920                mov rdi, [rcx + 32]
    483b7928                cmp rdi, [rcx + 40]
    7319                    jae recorded_full
    488937                  mov [rdi], rsi
    4883c708                add rdi, 8
    4989c9                  mov r9, rcx
    4889c6                  mov rsi, rax
    488b4930                mov rcx, [rcx + 48]
    f348a5                  rep movsq
    49897920                mov [r9 + 32], rdi
recorded_end:
    c3                      ret
recorded_full:
    ff6138                  jmp [rcx + 56]
"""

_AARCH64 = """
recorded:
    692840a9                ldp x9, x10, [x3]
    2a696af8                ldr x10, [x9, x10]
    6b3041a9                ldp x11, x12, [x3, #16]
    4a010bcb                sub x10, x10, x11
    5f010ceb                cmp x10, x12
    62010054                b.hs recorded_end
    6a2c42a9                ldp x10, x11, [x3, #32]
    5f010beb                cmp x10, x11
    22010054                b.hs recorded_full
    418500f8                str x1, [x10], #8
    6b1840f9                ldr x11, [x3, #48]
recorded_next:
    2c8540f8                ldr x12, [x9], #8
    4c8500f8                str x12, [x10], #8
    6b0500f1                subs x11, x11, #1
    a1ffff54                b.ne recorded_next
    6a1000f9                str x10, [x3, #32]
recorded_end:
    c0035fd6                ret
recorded_full:
    701c40f9                ldr x16, [x3, #56]
    00021fd6                br x16
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
