"""Machine code for the host: puts another CPU into an engine, and counts what ends translations.

``switch_cpu(data, cpu)`` exchanges the registers, the TLB and the marks of two CPUs. Its first
argument are words by the names in :data:`DATA`, its second one those in :data:`CPU`, of the CPU
that comes. Registers are those of the C calling conventions. What it is for is told in
:mod:`~kprobesim.machine.unicorn.cpu_switch`.
"""

from __future__ import annotations

__all__ = ["CODE", "CPU", "DATA"]

DATA = (
    *("current", "registers", "register_words", "compared"),
    *("tlb", "tlb_words", "dirty", "forgotten"),
    *("jumps", "jump_words", "flush", "cpu", "monitor"),
)
"""The words of the CPU that runs, in :data:`CPU`; where the registers are, and how many words; what
of them says what an address means: pairs of a mask and an offset, up to a mask of 0; the TLB, how
many words; which of its tables are not empty; how often translations were dropped; the cache of
jumps, how many words; the function that empties a TLB, and its CPU; the exclusive monitor."""

CPU = ("registers", "tlb", "dirty", "forgotten")
"""Of a CPU that does not run: where its registers are kept, and its TLB; what was in the words of
:data:`DATA` when it ran last."""

_X86_64 = """
switch_cpu:
    53                      push rbx
    4154                    push r12
    4155                    push r13
    4889fb                  mov rbx, rdi
    4989f4                  mov r12, rsi
    4c8b2b                  mov r13, [rbx]
    4c8923                  mov [rbx], r12
    498b7d00                mov rdi, [r13]
    488b7308                mov rsi, [rbx + 8]
    488b4b10                mov rcx, [rbx + 16]
    f348a5                  rep movsq
    488b7b08                mov rdi, [rbx + 8]
    498b3424                mov rsi, [r12]
    488b4b10                mov rcx, [rbx + 16]
    f348a5                  rep movsq
    488b4360                mov rax, [rbx + 96]
    488308ff                or qword ptr [rax], -1
    498b7d08                mov rdi, [r13 + 8]
    488b7320                mov rsi, [rbx + 32]
    488b4b28                mov rcx, [rbx + 40]
    f348a5                  rep movsq
    488b7b20                mov rdi, [rbx + 32]
    498b742408              mov rsi, [r12 + 8]
    488b4b28                mov rcx, [rbx + 40]
    f348a5                  rep movsq
    488b4330                mov rax, [rbx + 48]
    488b08                  mov rcx, [rax]
    49894d10                mov [r13 + 16], rcx
    498b4c2410              mov rcx, [r12 + 16]
    488908                  mov [rax], rcx
    488b4338                mov rax, [rbx + 56]
    488b08                  mov rcx, [rax]
    49894d18                mov [r13 + 24], rcx
    493b4c2418              cmp rcx, [r12 + 24]
    7538                    jne stale
    498b7500                mov rsi, [r13]
    498b3c24                mov rdi, [r12]
    488b5318                mov rdx, [rbx + 24]
check:
    488b0a                  mov rcx, [rdx]
    4885c9                  test rcx, rcx
    743b                    je end
    4c8b4208                mov r8, [rdx + 8]
    4a8b0406                mov rax, [rsi + r8]
    4a330407                xor rax, [rdi + r8]
    4883c210                add rdx, 16
    4885c8                  test rax, rcx
    74e3                    je check
    31c0                    xor eax, eax
    488b7b40                mov rdi, [rbx + 64]
    488b4b48                mov rcx, [rbx + 72]
    f348ab                  rep stosq
    eb17                    jmp end
stale:
    488b7b58                mov rdi, [rbx + 88]
    beffff0000              mov esi, 65535
    ff5350                  call [rbx + 80]
    488b4338                mov rax, [rbx + 56]
    498b4d18                mov rcx, [r13 + 24]
    488908                  mov [rax], rcx
end:
    415d                    pop r13
    415c                    pop r12
    5b                      pop rbx
    c3                      ret
"""

_AARCH64 = """
switch_cpu:
    fd7bbda9                stp x29, x30, [sp, #-48]!
    f35301a9                stp x19, x20, [sp, #16]
    f51300f9                str x21, [sp, #32]
    f30300aa                mov x19, x0
    f40301aa                mov x20, x1
    750240f9                ldr x21, [x19]
    740200f9                str x20, [x19]
    a00240f9                ldr x0, [x21]
    618a40a9                ldp x1, x2, [x19, #8]
    33000094                bl copy
    600640f9                ldr x0, [x19, #8]
    810240f9                ldr x1, [x20]
    620a40f9                ldr x2, [x19, #16]
    2f000094                bl copy
    04008092                mov x4, #-1
    633240f9                ldr x3, [x19, #96]
    640000f9                str x4, [x3]
    a00640f9                ldr x0, [x21, #8]
    610a42a9                ldp x1, x2, [x19, #32]
    29000094                bl copy
    601240f9                ldr x0, [x19, #32]
    810640f9                ldr x1, [x20, #8]
    621640f9                ldr x2, [x19, #40]
    25000094                bl copy
    631643a9                ldp x3, x5, [x19, #48]
    640040f9                ldr x4, [x3]
    a40a00f9                str x4, [x21, #16]
    840a40f9                ldr x4, [x20, #16]
    640000f9                str x4, [x3]
    a40040f9                ldr x4, [x5]
    a40e00f9                str x4, [x21, #24]
    850e40f9                ldr x5, [x20, #24]
    9f0005eb                cmp x4, x5
    01020054                b.ne stale
    630e40f9                ldr x3, [x19, #24]
    a40240f9                ldr x4, [x21]
    850240f9                ldr x5, [x20]
check:
    661cc1a8                ldp x6, x7, [x3], #16
    460200b4                cbz x6, end
    886867f8                ldr x8, [x4, x7]
    a96867f8                ldr x9, [x5, x7]
    080109ca                eor x8, x8, x9
    1f0106ea                tst x8, x6
    40ffff54                b.eq check
    600a44a9                ldp x0, x2, [x19, #64]
clear:
    1f7c81a8                stp xzr, xzr, [x0], #16
    420800f1                subs x2, x2, #2
    c8ffff54                b.hi clear
    08000014                b end
stale:
    602e40f9                ldr x0, [x19, #88]
    e1ff9f52                mov w1, #65535
    632a40f9                ldr x3, [x19, #80]
    60003fd6                blr x3
    631e40f9                ldr x3, [x19, #56]
    a40e40f9                ldr x4, [x21, #24]
    640000f9                str x4, [x3]
end:
    f51340f9                ldr x21, [sp, #32]
    f35341a9                ldp x19, x20, [sp, #16]
    fd7bc3a8                ldp x29, x30, [sp], #48
    c0035fd6                ret
copy:
    420800f1                subs x2, x2, #2
    83000054                b.lo copy_last
    2310c1a8                ldp x3, x4, [x1], #16
    031081a8                stp x3, x4, [x0], #16
    fcffff17                b copy
copy_last:
    62000036                tbz x2, #0, copy_end
    230040f9                ldr x3, [x1]
    030000f9                str x3, [x0]
copy_end:
    c0035fd6                ret
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
