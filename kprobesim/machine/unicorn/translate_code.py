"""Machine code for the host: hooks exactly what is armed in a block, while it is translated.

It stands in for ``gen_intermediate_code(cpu, tb, max_insns)``, by which Unicorn translates a block.
An instruction is hooked if it lies in the range of a hook of code at that moment, so the range of
the one hook is set to what is armed in the block: to its first instruction, if that is, and, when
its end is known, from the first to the last one that is. So a block with something armed behind its
first instruction is translated twice, as Unicorn itself does where one becomes too long. Where
several are armed, those in between call ``arrival``, too, which finds nobody. Afterwards the range
is everything: where somebody else hooks code, too, Unicorn looks at it again before each call.

A block has at most 128 instructions, not 512. Unicorn ends one also where it has become too much,
which hooks have a part in; but blocks are a guest's time, so they must be the same with any hooks.

``find`` looks for who is armed at an address. The code lies behind that of
:mod:`~kprobesim.machine.unicorn.dispatch_code`, and its words are told there.
"""

from __future__ import annotations

__all__ = ["AARCH64", "X86_64"]

X86_64 = """
find:
    4c8b03                  mov r8, [rbx]
    69c6b179379e            imul eax, esi, -0x61c8864f
    c1e808                  shr eax, 8
    90                      nop
find_next:
    48234308                and rax, [rbx + 8]
    4989c1                  mov r9, rax
    49c1e105                shl r9, 5
    4d01c1                  add r9, r8
    4d8b01                  mov r8, [r9]
    4939f0                  cmp r8, rsi
    7410                    je find_found
    4983f8ff                cmp r8, -1
    4c8b03                  mov r8, [rbx]
    488d4001                lea rax, [rax + 1]
    75dd                    jne find_next
    4531c9                  xor r9d, r9d
find_found:
    c3                      ret
translate:
    4c8b15d5eeffff          mov r10, [rip + table]
    4c8b1dd6eeffff          mov r11, [rip + count]
translate_next:
    4983eb01                sub r11, 1
    720c                    jb translate_other
    49397a30                cmp [r10 + 48], rdi
    740c                    je translate_found
    4983ea80                sub r10, -128
    ebee                    jmp translate_next
translate_other:
    ff25d6eeffff            jmp [rip + real]
translate_found:
    53                      push rbx
    4154                    push r12
    4155                    push r13
    4156                    push r14
    4157                    push r15
    4c89d3                  mov rbx, r10
    4989fc                  mov r12, rdi
    4989f5                  mov r13, rsi
    41be80000000            mov r14d, 128
    4439f2                  cmp edx, r14d
    440f42f2                cmovb r14d, edx
    48897370                mov [rbx + 112], rsi
    4c8b7b40                mov r15, [rbx + 64]
    31c0                    xor eax, eax
    48394348                cmp [rbx + 72], rax
    4c0f45f8                cmovne r15, rax
    48894348                mov [rbx + 72], rax
    4c8b5350                mov r10, [rbx + 80]
    48394358                cmp [rbx + 88], rax
    0f85db000000            jne translate_wide
    498b7500                mov rsi, [r13]
    e85affffff              call find
    488b0d73eeffff          mov rcx, [rip + nowhere]
    4d85c9                  test r9, r9
    740d                    je translate_first
    4889f1                  mov rcx, rsi
    41f6411801              test byte ptr [r9 + 24], 1
    7403                    je translate_first
    4531ff                  xor r15d, r15d
translate_first:
    49890a                  mov [r10], rcx
    49894a08                mov [r10 + 8], rcx
    488b4338                mov rax, [rbx + 56]
    448838                  mov [rax], r15b
    4c89e7                  mov rdi, r12
    4c89ee                  mov rsi, r13
    4c89f2                  mov rdx, r14
    ff1554eeffff            call [rip + real]
    410fb75514              movzx edx, word ptr [r13 + 20]
    498b7500                mov rsi, [r13]
    4801f2                  add rdx, rsi
    4531d2                  xor r10d, r10d
    4531db                  xor r11d, r11d
    31c9                    xor ecx, ecx
    eb18                    jmp scan_step
scan_look:
    e809ffffff              call find
    4d85c9                  test r9, r9
    740e                    je scan_step
    4d85d2                  test r10, r10
    4c0f44d6                cmove r10, rsi
    4989f3                  mov r11, rsi
    410b4918                or ecx, [r9 + 24]
scan_step:
    48037368                add rsi, [rbx + 104]
    4839d6                  cmp rsi, rdx
    72df                    jb scan_look
    4d85db                  test r11, r11
    7443                    je translate_end
    488b5350                mov rdx, [rbx + 80]
    488b05fdedffff          mov rax, [rip + nowhere]
    483902                  cmp [rdx], rax
    7503                    jne translate_again
    4c8912                  mov [rdx], r10
translate_again:
    4c895a08                mov [rdx + 8], r11
    31c0                    xor eax, eax
    f7c101000000            test ecx, 1
    4c0f45f8                cmovne r15, rax
    488b4338                mov rax, [rbx + 56]
    448838                  mov [rax], r15b
    488b7b60                mov rdi, [rbx + 96]
    ff15ecedffff            call [rip + func_start]
translate_last:
    4c89e7                  mov rdi, r12
    4c89ee                  mov rsi, r13
    4c89f2                  mov rdx, r14
    ff15d5edffff            call [rip + real]
translate_end:
    488b4350                mov rax, [rbx + 80]
    48c70000000000          mov qword ptr [rax], 0
    48c74008ffffffff        mov qword ptr [rax + 8], -1
    415f                    pop r15
    415e                    pop r14
    415d                    pop r13
    415c                    pop r12
    5b                      pop rbx
    c3                      ret
translate_wide:
    498902                  mov [r10], rax
    48ffc8                  dec rax
    49894208                mov [r10 + 8], rax
    488b4338                mov rax, [rbx + 56]
    448838                  mov [rax], r15b
    ebc1                    jmp translate_last
"""

AARCH64 = """
find:
    692a40a9                ldp x9, x10, [x19]
    2b1041ca                eor x11, x1, x1, lsr #4
find_next:
    6b010a8a                and x11, x11, x10
    2c150b8b                add x12, x9, x11, lsl #5
    8d0140f9                ldr x13, [x12]
    6b050091                add x11, x11, #1
    bf0101eb                cmp x13, x1
    80000054                b.eq find_found
    bf0500b1                cmn x13, #1
    21ffff54                b.ne find_next
    0c0080d2                mov x12, #0
find_found:
    c0035fd6                ret
translate:
    4975ff58                ldr x9, table
    6a75ff58                ldr x10, count
translate_next:
    4a0500f1                subs x10, x10, #1
    c3000054                b.lo translate_other
    2b1940f9                ldr x11, [x9, #48]
    7f0100eb                cmp x11, x0
    a0000054                b.eq translate_found
    29010291                add x9, x9, #128
    faffff17                b translate_next
translate_other:
    3075ff58                ldr x16, real
    00021fd6                br x16
translate_found:
    fd7bbca9                stp x29, x30, [sp, #-64]!
    f35301a9                stp x19, x20, [sp, #16]
    f55b02a9                stp x21, x22, [sp, #32]
    f71b00f9                str x23, [sp, #48]
    f30309aa                mov x19, x9
    f40300aa                mov x20, x0
    f50301aa                mov x21, x1
    09108052                mov w9, #128
    5f00096b                cmp w2, w9
    5630891a                csel w22, w2, w9, lo
    613a00f9                str x1, [x19, #112]
    772a44a9                ldp x23, x10, [x19, #64]
    5f0100f1                cmp x10, #0
    f7029f9a                csel x23, x23, xzr, eq
    7f2600f9                str xzr, [x19, #72]
    6e2a45a9                ldp x14, x10, [x19, #80]
    ca0700b5                cbnz x10, translate_wide
    a10240f9                ldr x1, [x21]
    d7ffff97                bl find
    0f72ff58                ldr x15, nowhere
    ac0000b4                cbz x12, translate_first
    ef0301aa                mov x15, x1
    8a0d40f9                ldr x10, [x12, #24]
    5f0140f2                tst x10, #1
    f7029f9a                csel x23, x23, xzr, eq
translate_first:
    cf3d00a9                stp x15, x15, [x14]
    691e40f9                ldr x9, [x19, #56]
    37010039                strb w23, [x9]
    e00314aa                mov x0, x20
    e10315aa                mov x1, x21
    e20316aa                mov x2, x22
    1071ff58                ldr x16, real
    00023fd6                blr x16
    a10240f9                ldr x1, [x21]
    a22a4079                ldrh w2, [x21, #20]
    4200018b                add x2, x2, x1
    633640f9                ldr x3, [x19, #104]
    040080d2                mov x4, #0
    050080d2                mov x5, #0
    060080d2                mov x6, #0
    08000014                b scan_step
scan_look:
    c0ffff97                bl find
    cc0000b4                cbz x12, scan_step
    9f0000f1                cmp x4, #0
    2400849a                csel x4, x1, x4, eq
    e50301aa                mov x5, x1
    8a0d40f9                ldr x10, [x12, #24]
    c6000aaa                orr x6, x6, x10
scan_step:
    2100038b                add x1, x1, x3
    3f0002eb                cmp x1, x2
    e3feff54                b.lo scan_look
    650200b4                cbz x5, translate_end
    6e2a40f9                ldr x14, [x19, #80]
    ca6dff58                ldr x10, nowhere
    cb0140f9                ldr x11, [x14]
    7f010aeb                cmp x11, x10
    8b008b9a                csel x11, x4, x11, eq
    cb1500a9                stp x11, x5, [x14]
    df0040f2                tst x6, #1
    f7029f9a                csel x23, x23, xzr, eq
    691e40f9                ldr x9, [x19, #56]
    37010039                strb w23, [x9]
    603240f9                ldr x0, [x19, #96]
    506dff58                ldr x16, func_start
    00023fd6                blr x16
translate_last:
    e00314aa                mov x0, x20
    e10315aa                mov x1, x21
    e20316aa                mov x2, x22
    706cff58                ldr x16, real
    00023fd6                blr x16
translate_end:
    6e2a40f9                ldr x14, [x19, #80]
    0a008092                mov x10, #-1
    df2900a9                stp xzr, x10, [x14]
    f71b40f9                ldr x23, [sp, #48]
    f55b42a9                ldp x21, x22, [sp, #32]
    f35341a9                ldp x19, x20, [sp, #16]
    fd7bc4a8                ldp x29, x30, [sp], #64
    c0035fd6                ret
translate_wide:
    0a008092                mov x10, #-1
    df2900a9                stp xzr, x10, [x14]
    691e40f9                ldr x9, [x19, #56]
    37010039                strb w23, [x9]
    efffff17                b translate_last
"""
