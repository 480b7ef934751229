"""Machine code for the host: what stands in for six functions of Unicorn's that see stores.

They are called for the first store to each page after its address was looked up, or when it is
looked up, far too often for Python. What they do is told in
:mod:`~kprobesim.machine.unicorn.code_pages`. Each looks for its engine in a table of :data:`ENTRY`
structs, by its ``uc`` or its ``cpu``, and goes on to Unicorn's own function if the engine is none
of ours. Registers are those of the C calling conventions: the arguments stay as they are, nothing
is allocated, and only who comes back from Unicorn's own function has saved anything.

A page of words, by the names in :data:`WORDS`, lies before the code.
"""

from __future__ import annotations

import struct

__all__ = ["CODE", "ENTRY", "WORDS"]

WORDS = (
    *("table", "count", "reset_dirty"),
    *("real_store_seen", "real_set_dirty", "real_protect", "real_unprotect", "real_new_block"),
    "real_fill",
)
"""What lies before the code, in words: the table, how many entries it has, functions."""

ENTRY = struct.Struct("<9Q")
"""``uc``, ``cpu``; of the RAM: Unicorn's address, size, the host's address; the address of the last
store; the arrays of bytes, one for each page: it holds code, it may be written without notice; the
RAM's physical address."""

_X86_64 = """
store_seen:
    4c8b15f9efffff          mov r10, [rip + table]
    4c8b1dfaefffff          mov r11, [rip + count]
store_seen_next:
    4983eb01                sub r11, 1
    720f                    jb store_seen_other
    49393a                  cmp [r10], rdi
    7406                    je store_seen_found
    4983c248                add r10, 72
    ebef                    jmp store_seen_next
store_seen_found:
    49895228                mov [r10 + 40], rdx
store_seen_other:
    ff25efefffff            jmp [rip + real_store_seen]
set_dirty:
    4c8b15d0efffff          mov r10, [rip + table]
    4c8b1dd1efffff          mov r11, [rip + count]
set_dirty_next:
    4983eb01                sub r11, 1
    7232                    jb set_dirty_other
    49397a08                cmp [r10 + 8], rdi
    7406                    je set_dirty_found
    4983c248                add r10, 72
    ebee                    jmp set_dirty_next
set_dirty_found:
    498b4228                mov rax, [r10 + 40]
    492b4210                sub rax, [r10 + 16]
    493b4218                cmp rax, [r10 + 24]
    731e                    jae set_dirty_end
    48c1e80c                shr rax, 12
    4d8b5a30                mov r11, [r10 + 48]
    41803c0300              cmp byte ptr [r11 + rax], 0
    750f                    jne set_dirty_end
    4d8b5a38                mov r11, [r10 + 56]
    41c6040301              mov byte ptr [r11 + rax], 1
set_dirty_other:
    ff25abefffff            jmp [rip + real_set_dirty]
set_dirty_end:
    c3                      ret
protect:
    4c8b1583efffff          mov r10, [rip + table]
    4c8b1d84efffff          mov r11, [rip + count]
protect_next:
    4983eb01                sub r11, 1
    7252                    jb protect_other
    49393a                  cmp [r10], rdi
    7406                    je protect_found
    4983c248                add r10, 72
    ebef                    jmp protect_next
protect_found:
    4889f0                  mov rax, rsi
    492b4210                sub rax, [r10 + 16]
    493b4218                cmp rax, [r10 + 24]
    7340                    jae protect_end
    4889c6                  mov rsi, rax
    48c1e80c                shr rax, 12
    4d8b5a30                mov r11, [r10 + 48]
    41c6040301              mov byte ptr [r11 + rax], 1
    4d8b5a38                mov r11, [r10 + 56]
    41803c0300              cmp byte ptr [r11 + rax], 0
    7425                    je protect_end
    41c6040300              mov byte ptr [r11 + rax], 0
    4881e600f0ffff          and rsi, -4096
    49037220                add rsi, [r10 + 32]
    498b7a08                mov rdi, [r10 + 8]
    ba00100000              mov edx, 4096
    ff2534efffff            jmp [rip + reset_dirty]
protect_other:
    ff2546efffff            jmp [rip + real_protect]
protect_end:
    c3                      ret
unprotect:
    4c8b1516efffff          mov r10, [rip + table]
    4c8b1d17efffff          mov r11, [rip + count]
unprotect_next:
    4983eb01                sub r11, 1
    7226                    jb unprotect_other
    49393a                  cmp [r10], rdi
    7406                    je unprotect_found
    4983c248                add r10, 72
    ebef                    jmp unprotect_next
unprotect_found:
    4889f0                  mov rax, rsi
    492b4210                sub rax, [r10 + 16]
    493b4218                cmp rax, [r10 + 24]
    730d                    jae unprotect_end
    48c1e80c                shr rax, 12
    4d8b5a30                mov r11, [r10 + 48]
    41c6040300              mov byte ptr [r11 + rax], 0
unprotect_end:
    c3                      ret
unprotect_other:
    ff250defffff            jmp [rip + real_unprotect]
new_block:
    4c8b15d6eeffff          mov r10, [rip + table]
    4c8b1dd7eeffff          mov r11, [rip + count]
new_block_next:
    4983eb01                sub r11, 1
    720d                    jb new_block_other
    49397a08                cmp [r10 + 8], rdi
    7406                    je new_block_found
    4983c248                add r10, 72
    ebee                    jmp new_block_next
new_block_found:
    c3                      ret
new_block_other:
    ff25eeeeffff            jmp [rip + real_new_block]
fill:
    4c8b15afeeffff          mov r10, [rip + table]
    4c8b1db0eeffff          mov r11, [rip + count]
fill_next:
    4983eb01                sub r11, 1
    724f                    jb fill_other
    49397a08                cmp [r10 + 8], rdi
    7406                    je fill_found
    4983c248                add r10, 72
    ebee                    jmp fill_next
fill_found:
    4489c0                  mov eax, r8d
    f7d0                    not eax
    a806                    test al, 6
    753a                    jne fill_other
    4889d0                  mov rax, rdx
    492b4240                sub rax, [r10 + 64]
    493b4218                cmp rax, [r10 + 24]
    732d                    jae fill_other
    48c1e80c                shr rax, 12
    4d8b5a30                mov r11, [r10 + 48]
    41803c0300              cmp byte ptr [r11 + rax], 0
    751e                    jne fill_other
    4d8b5a38                mov r11, [r10 + 56]
    41c6040301              mov byte ptr [r11 + rax], 1
    57                      push rdi
    56                      push rsi
    ff742418                push qword ptr [rsp + 24]
    ff159ceeffff            call [rip + real_fill]
    58                      pop rax
    5e                      pop rsi
    5f                      pop rdi
    ff2573eeffff            jmp [rip + real_set_dirty]
fill_other:
    ff258deeffff            jmp [rip + real_fill]
"""

_AARCH64 = """
store_seen:
    0980ff58                ldr x9, table
    2a80ff58                ldr x10, count
store_seen_next:
    4a0500f1                subs x10, x10, #1
    e3000054                b.lo store_seen_other
    2b0140f9                ldr x11, [x9]
    7f0100eb                cmp x11, x0
    60000054                b.eq store_seen_found
    29210191                add x9, x9, #72
    faffff17                b store_seen_next
store_seen_found:
    221500f9                str x2, [x9, #40]
store_seen_other:
    907fff58                ldr x16, real_store_seen
    00021fd6                br x16
set_dirty:
    897eff58                ldr x9, table
    aa7eff58                ldr x10, count
set_dirty_next:
    4a0500f1                subs x10, x10, #1
    63020054                b.lo set_dirty_other
    2b0540f9                ldr x11, [x9, #8]
    7f0100eb                cmp x11, x0
    60000054                b.eq set_dirty_found
    29210191                add x9, x9, #72
    faffff17                b set_dirty_next
set_dirty_found:
    2c1540f9                ldr x12, [x9, #40]
    2b0940f9                ldr x11, [x9, #16]
    8c010bcb                sub x12, x12, x11
    2b0d40f9                ldr x11, [x9, #24]
    9f010beb                cmp x12, x11
    42010054                b.hs set_dirty_end
    8cfd4cd3                lsr x12, x12, #12
    2b1940f9                ldr x11, [x9, #48]
    6d696c38                ldrb w13, [x11, x12]
    cd000035                cbnz w13, set_dirty_end
    2b1d40f9                ldr x11, [x9, #56]
    2d008052                mov w13, #1
    6d692c38                strb w13, [x11, x12]
set_dirty_other:
    d07cff58                ldr x16, real_set_dirty
    00021fd6                br x16
set_dirty_end:
    c0035fd6                ret
protect:
    697bff58                ldr x9, table
    8a7bff58                ldr x10, count
protect_next:
    4a0500f1                subs x10, x10, #1
    43030054                b.lo protect_other
    2b0140f9                ldr x11, [x9]
    7f0100eb                cmp x11, x0
    60000054                b.eq protect_found
    29210191                add x9, x9, #72
    faffff17                b protect_next
protect_found:
    2b0940f9                ldr x11, [x9, #16]
    2c000bcb                sub x12, x1, x11
    2b0d40f9                ldr x11, [x9, #24]
    9f010beb                cmp x12, x11
    42020054                b.hs protect_end
    8efd4cd3                lsr x14, x12, #12
    2b1940f9                ldr x11, [x9, #48]
    2d008052                mov w13, #1
    6d692e38                strb w13, [x11, x14]
    2b1d40f9                ldr x11, [x9, #56]
    6d696e38                ldrb w13, [x11, x14]
    6d010034                cbz w13, protect_end
    7f692e38                strb wzr, [x11, x14]
    8ccd7492                and x12, x12, #0xfffffffffffff000
    2b1140f9                ldr x11, [x9, #32]
    81010b8b                add x1, x12, x11
    200540f9                ldr x0, [x9, #8]
    020082d2                mov x2, #4096
    9078ff58                ldr x16, reset_dirty
    00021fd6                br x16
protect_other:
    1079ff58                ldr x16, real_protect
    00021fd6                br x16
protect_end:
    c0035fd6                ret
unprotect:
    6977ff58                ldr x9, table
    8a77ff58                ldr x10, count
unprotect_next:
    4a0500f1                subs x10, x10, #1
    e3010054                b.lo unprotect_other
    2b0140f9                ldr x11, [x9]
    7f0100eb                cmp x11, x0
    60000054                b.eq unprotect_found
    29210191                add x9, x9, #72
    faffff17                b unprotect_next
unprotect_found:
    2b0940f9                ldr x11, [x9, #16]
    2c000bcb                sub x12, x1, x11
    2b0d40f9                ldr x11, [x9, #24]
    9f010beb                cmp x12, x11
    82000054                b.hs unprotect_end
    8cfd4cd3                lsr x12, x12, #12
    2b1940f9                ldr x11, [x9, #48]
    7f692c38                strb wzr, [x11, x12]
unprotect_end:
    c0035fd6                ret
unprotect_other:
    b076ff58                ldr x16, real_unprotect
    00021fd6                br x16
new_block:
    e974ff58                ldr x9, table
    0a75ff58                ldr x10, count
new_block_next:
    4a0500f1                subs x10, x10, #1
    e3000054                b.lo new_block_other
    2b0540f9                ldr x11, [x9, #8]
    7f0100eb                cmp x11, x0
    60000054                b.eq new_block_found
    29210191                add x9, x9, #72
    faffff17                b new_block_next
new_block_found:
    c0035fd6                ret
new_block_other:
    7075ff58                ldr x16, real_new_block
    00021fd6                br x16
fill:
    6973ff58                ldr x9, table
    8a73ff58                ldr x10, count
fill_next:
    4a0500f1                subs x10, x10, #1
    a3030054                b.lo fill_other
    2b0540f9                ldr x11, [x9, #8]
    7f0100eb                cmp x11, x0
    60000054                b.eq fill_found
    29210191                add x9, x9, #72
    faffff17                b fill_next
fill_found:
    eb03242a                mvn w11, w4
    7f051f72                tst w11, #6
    a1020054                b.ne fill_other
    2b2140f9                ldr x11, [x9, #64]
    4c000bcb                sub x12, x2, x11
    2b0d40f9                ldr x11, [x9, #24]
    9f010beb                cmp x12, x11
    02020054                b.hs fill_other
    8cfd4cd3                lsr x12, x12, #12
    2b1940f9                ldr x11, [x9, #48]
    6d696c38                ldrb w13, [x11, x12]
    8d010035                cbnz w13, fill_other
    2b1d40f9                ldr x11, [x9, #56]
    2d008052                mov w13, #1
    6d692c38                strb w13, [x11, x12]
    fd7bbea9                stp x29, x30, [sp, #-32]!
    e00701a9                stp x0, x1, [sp, #16]
    3072ff58                ldr x16, real_fill
    00023fd6                blr x16
    e00741a9                ldp x0, x1, [sp, #16]
    fd7bc2a8                ldp x29, x30, [sp], #32
    b070ff58                ldr x16, real_set_dirty
    00021fd6                br x16
fill_other:
    7071ff58                ldr x16, real_fill
    00021fd6                br x16
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
