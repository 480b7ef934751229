"""Machine code for the host: who is called when a block starts, and before an armed instruction.

What it does is told in :mod:`~kprobesim.machine.unicorn.dispatch`. Registers are those of the C
calling conventions. It lies behind a page of words (:data:`WORDS`), as that of
:mod:`~kprobesim.machine.unicorn.host_code`; each engine has a board (:data:`BOARD`) in a table.

==============  ===================================================================================
``block``       Unicorn's callback of blocks: counts, leaves a block that is over the limit, or if
                somebody has asked for a stop; calls who wants every block
``write_call``  leaves out the call by which Unicorn looks for a stop, behind that of ``block``
``arrival``     Unicorn's callback of code: calls who is armed at the address
``chain``       is called in the place of several functions: calls each
``translate``   :mod:`~kprobesim.machine.unicorn.translate_code`
==============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.machine.unicorn import translate_code
from kprobesim.sizes import MASK32

__all__ = ["BOARD", "BOARD_BYTES", "CODE", "ENTRY_WORDS", "HOMES", "MAY_LEAVE", "WORDS"]

WORDS = (
    *("table", "count", "nowhere", "stop", "real", "func_start"),
    *("leave", "real_write_call", "counts", "counted"),
)
"""What lies before the code, in words: the boards, how many there are; an address that no CPU
executes; ``uc_emu_stop()``, and ``gen_intermediate_code()`` and ``tcg_func_start()`` of Unicorn's
translator for one kind of guest; ``helper_check_exit_request()``, by which a block is left, and
``tcg_gen_callN()``, by which the translator writes down a call; ``block``, if that looks for a
stop, and the translator that has just written down a call of it."""

BOARD = (
    *("armed", "mask", "counter", "every", "every_data", "exit", "cpu", "switch"),
    *("quick", "look_in_next", "hook", "wide", "context", "step", "last_block", "block_end"),
)
"""An engine's words: the table of who is armed, the number of its entries less one; where blocks
are counted and, behind that, the limit; the function that wants every block, and its data; where
Unicorn keeps a wish to stop; its CPU; where the switch of
:mod:`~kprobesim.machine.unicorn.stop_points` is, its value for blocks that nobody leaves, and
whether the next one is left; where the range of the hook is that calls ``arrival``, and whether it
is to cover everything; the translator; how far apart instructions may be; the last block that was
translated; where the block ends that was entered last."""
BOARD_BYTES = 128

ENTRY_WORDS = 4
"""An entry of the table of who is armed: address, function, data, and :data:`MAY_LEAVE` or 0."""
MAY_LEAVE = 1

_X86_64 = """
block:
    89d0                    mov eax, edx
    4801f0                  add rax, rsi
    48894178                mov [rcx + 120], rax
    488b4110                mov rax, [rcx + 16]
    4c8b00                  mov r8, [rax]
    49ffc0                  inc r8
    4c8900                  mov [rax], r8
    4c3b4008                cmp r8, [rax + 8]
    7719                    ja block_over
    488b4128                mov rax, [rcx + 40]
    833800                  cmp dword ptr [rax], 0
    7c18                    jl block_leave
    488b4118                mov rax, [rcx + 24]
    4885c0                  test rax, rax
    7501                    jne block_every
    c3                      ret
block_every:
    488b4920                mov rcx, [rcx + 32]
    ffe0                    jmp rax
block_over:
    57                      push rdi
    ff15dcefffff            call [rip + stop]
    5f                      pop rdi
block_leave:
    31f6                    xor esi, esi
    ff25ebefffff            jmp [rip + leave]
write_call:
    483b35f4efffff          cmp rsi, [rip + counts]
    740f                    je write_call_count
    483b35dbefffff          cmp rsi, [rip + leave]
    7413                    je write_call_leave
write_call_real:
    ff25dbefffff            jmp [rip + real_write_call]
write_call_count:
    48893de4efffff          mov [rip + counted], rdi
    ff25ceefffff            jmp [rip + real_write_call]
write_call_leave:
    483b3dd7efffff          cmp rdi, [rip + counted]
    75e4                    jne write_call_real
    48c705caefffff00000000  mov qword ptr [rip + counted], 0
    c3                      ret
arrival:
    4c8b01                  mov r8, [rcx]
    69c6b179379e            imul eax, esi, -0x61c8864f
    c1e808                  shr eax, 8
    90                      nop
arrival_next:
    48234108                and rax, [rcx + 8]
    4989c1                  mov r9, rax
    49c1e105                shl r9, 5
    4d01c1                  add r9, r8
    4d8b11                  mov r10, [r9]
    48ffc0                  inc rax
    4939f2                  cmp r10, rsi
    7407                    je arrival_found
    4983faff                cmp r10, -1
    75e1                    jne arrival_next
    c3                      ret
arrival_found:
    498b4910                mov rcx, [r9 + 16]
    41ff6108                jmp [r9 + 8]
chain:
    53                      push rbx
    4154                    push r12
    4155                    push r13
    4156                    push r14
    4156                    push r14
    4889cb                  mov rbx, rcx
    4989fc                  mov r12, rdi
    4989f5                  mov r13, rsi
    4989d6                  mov r14, rdx
chain_next:
    488b03                  mov rax, [rbx]
    4885c0                  test rax, rax
    7415                    je chain_end
    4c89e7                  mov rdi, r12
    4c89ee                  mov rsi, r13
    4c89f2                  mov rdx, r14
    488b4b08                mov rcx, [rbx + 8]
    ffd0                    call rax
    4883c310                add rbx, 16
    ebe3                    jmp chain_next
chain_end:
    415e                    pop r14
    415e                    pop r14
    415d                    pop r13
    415c                    pop r12
    5b                      pop rbx
    c3                      ret

"""

_AARCH64 = """
block:
    2940228b                add x9, x1, w2, uxtw
    693c00f9                str x9, [x3, #120]
    690840f9                ldr x9, [x3, #16]
    2a2d40a9                ldp x10, x11, [x9]
    4a050091                add x10, x10, #1
    2a0100f9                str x10, [x9]
    5f010beb                cmp x10, x11
    28010054                b.hi block_over
    691440f9                ldr x9, [x3, #40]
    290140b9                ldr w9, [x9]
    8901f837                tbnz w9, #31, block_leave
    700c40f9                ldr x16, [x3, #24]
    500000b5                cbnz x16, block_every
    c0035fd6                ret
block_every:
    631040f9                ldr x3, [x3, #32]
    00021fd6                br x16
block_over:
    fd7bbea9                stp x29, x30, [sp, #-32]!
    e00b00f9                str x0, [sp, #16]
    907eff58                ldr x16, stop
    00023fd6                blr x16
    e00b40f9                ldr x0, [sp, #16]
    fd7bc2a8                ldp x29, x30, [sp], #32
block_leave:
    e1031f2a                mov w1, wzr
    b07eff58                ldr x16, leave
    00021fd6                br x16
write_call:
    e97eff58                ldr x9, counts
    3f0009eb                cmp x1, x9
    c0000054                b.eq write_call_count
    097eff58                ldr x9, leave
    3f0009eb                cmp x1, x9
    e0000054                b.eq write_call_leave
write_call_real:
    f07dff58                ldr x16, real_write_call
    00021fd6                br x16
write_call_count:
    297eff10                adr x9, counted
    200100f9                str x0, [x9]
    707dff58                ldr x16, real_write_call
    00021fd6                br x16
write_call_leave:
    a97dff10                adr x9, counted
    2a0140f9                ldr x10, [x9]
    1f000aeb                cmp x0, x10
    e1feff54                b.ne write_call_real
    3f0100f9                str xzr, [x9]
    c0035fd6                ret
arrival:
    692840a9                ldp x9, x10, [x3]
    2b1041ca                eor x11, x1, x1, lsr #4
arrival_next:
    6b010a8a                and x11, x11, x10
    2c150b8b                add x12, x9, x11, lsl #5
    8d0140f9                ldr x13, [x12]
    6b050091                add x11, x11, #1
    bf0101eb                cmp x13, x1
    80000054                b.eq arrival_found
    bf0500b1                cmn x13, #1
    21ffff54                b.ne arrival_next
    c0035fd6                ret
arrival_found:
    908d40a9                ldp x16, x3, [x12, #8]
    00021fd6                br x16
chain:
    fd7bbda9                stp x29, x30, [sp, #-48]!
    f35301a9                stp x19, x20, [sp, #16]
    f55b02a9                stp x21, x22, [sp, #32]
    f30303aa                mov x19, x3
    f40300aa                mov x20, x0
    f50301aa                mov x21, x1
    f60302aa                mov x22, x2
chain_next:
    700ec1a8                ldp x16, x3, [x19], #16
    d00000b4                cbz x16, chain_end
    e00314aa                mov x0, x20
    e10315aa                mov x1, x21
    e20316aa                mov x2, x22
    00023fd6                blr x16
    faffff17                b chain_next
chain_end:
    f55b42a9                ldp x21, x22, [sp, #32]
    f35341a9                ldp x19, x20, [sp, #16]
    fd7bc3a8                ldp x29, x30, [sp], #48
    c0035fd6                ret

"""

CODE = {
    "x86_64": _X86_64 + translate_code.X86_64,
    "aarch64": _AARCH64 + translate_code.AARCH64,
}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""

HOMES: dict[str, Callable[[int], int]] = {
    "x86_64": lambda address: (address * 0x9E37_79B1 & MASK32) >> 8,
    "aarch64": lambda address: address ^ address >> 4,
}
"""Where the look for an address begins, modulo the size of the table, in the code of each host.

A multiple of 2**32 / the golden ratio scatters instructions that follow each other closely: with
100,000 of them a look would else go through a dozen entries.
"""
