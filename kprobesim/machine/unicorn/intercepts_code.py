"""Machine code for the host: what a hypervisor of the engine's CPU would be asked.

What it does is told in :mod:`~kprobesim.machine.unicorn.intercepts`. Registers are those of the C
calling conventions. It lies behind a page of words (:data:`WORDS`), as that of
:mod:`~kprobesim.machine.unicorn.host_code`; each engine has an entry (:data:`ENTRY`) in a table.

==============  ===================================================================================
``intercept``   ``cpu_svm_check_intercept_param(env, type, param, retaddr)``: RDMSR and WRMSR of
                what somebody has asked for call him
``deliver``     ``do_interrupt_x86_hardirq(env, intno, is_hw)``: an interrupt that was offered gets
                its vector, but while an instruction is stepped it goes on waiting
==============  ===================================================================================
"""

from __future__ import annotations

__all__ = ["CODE", "ENTRY", "ENTRY_BYTES", "WORDS"]

WORDS = ("table", "count", "real_intercept", "real_deliver", "loop_exit")
"""What lies before the code, in words: the entries, how many there are, and Unicorn's functions:
the two in whose place these are, and ``cpu_loop_exit()``."""

ENTRY = (
    *("env", "cpu", "msrs", "on_msr", "vector", "taken"),
    *("counter", "extra", "requests", "ends_when_taken"),
)
"""An engine's words: its registers, and what Unicorn calls its CPU; pairs of a first MSR and how
many, up to one of none, and who is called with whether it is written (his answer is whether it is
done); the vector that is offered, and how many were taken; where its counter with the limit is, by
how much that limit was raised for a step, and where requests for interrupts are; whether a taken
interrupt ends the run."""
ENTRY_BYTES = 128

_X86_64 = """
intercept:
    83fe7c                  cmp esi, 124
    7445                    je intercept_msr
intercept_real:
    ff2505f0ffff            jmp [rip + real_intercept]
find:
    4c8b15eeefffff          mov r10, [rip + table]
    4c8b1defefffff          mov r11, [rip + count]
find_next:
    4983eb01                sub r11, 1
    720b                    jb find_none
    49393a                  cmp [r10], rdi
    7409                    je find_end
    4983ea80                sub r10, -128
    ebef                    jmp find_next
find_none:
    4531d2                  xor r10d, r10d
find_end:
    4d85d2                  test r10, r10
    c3                      ret
cut:
    4d8b5a30                mov r11, [r10 + 48]
    498b4238                mov rax, [r10 + 56]
    488b00                  mov rax, [rax]
    490303                  add rax, [r11]
    493b4308                cmp rax, [r11 + 8]
    7304                    jae cut_end
    49894308                mov [r11 + 8], rax
cut_end:
    c3                      ret
intercept_msr:
    e8bcffffff              call find
    74b4                    je intercept_real
    4d8b5a10                mov r11, [r10 + 16]
    448b4708                mov r8d, [rdi + 8]
msr_next:
    4d8b4b08                mov r9, [r11 + 8]
    4d85c9                  test r9, r9
    74a3                    je intercept_real
    4c89c0                  mov rax, r8
    492b03                  sub rax, [r11]
    4983c310                add r11, 16
    4c39c8                  cmp rax, r9
    73e8                    jae msr_next
    57                      push rdi
    56                      push rsi
    52                      push rdx
    51                      push rcx
    4152                    push r10
    89d7                    mov edi, edx
    41ff5218                call [r10 + 24]
    415a                    pop r10
    59                      pop rcx
    5a                      pop rdx
    5e                      pop rsi
    5f                      pop rdi
    85c0                    test eax, eax
    0f847affffff            je intercept_real
    85d2                    test edx, edx
    7512                    jne msr_done
    4883878000000002        add qword ptr [rdi + 128], 2
    498b7a08                mov rdi, [r10 + 8]
    ff257fefffff            jmp [rip + loop_exit]
msr_done:
    c3                      ret
deliver:
    85f6                    test esi, esi
    7525                    jne deliver_real
    e860ffffff              call find
    741e                    je deliver_real
    4d8b5a38                mov r11, [r10 + 56]
    49833b00                cmp qword ptr [r11], 0
    751a                    jne deliver_hold
    418b7220                mov esi, [r10 + 32]
    49ff4228                inc qword ptr [r10 + 40]
    49837a4800              cmp qword ptr [r10 + 72], 0
    7405                    je deliver_real
    e866ffffff              call cut
deliver_real:
    ff2547efffff            jmp [rip + real_deliver]
deliver_hold:
    4d8b5a40                mov r11, [r10 + 64]
    41830b02                or dword ptr [r11], 2
    e953ffffff              jmp cut
"""

_AARCH64 = """
intercept:
    3ff00171                cmp w1, #124
    c0020054                b.eq intercept_msr
intercept_real:
    5080ff58                ldr x16, real_intercept
    00021fd6                br x16
find:
    897fff58                ldr x9, table
    aa7fff58                ldr x10, count
find_next:
    4a0500f1                subs x10, x10, #1
    c3000054                b.lo find_none
    2b0140f9                ldr x11, [x9]
    7f0100eb                cmp x11, x0
    80000054                b.eq find_end
    29010291                add x9, x9, #128
    faffff17                b find_next
find_none:
    090080d2                mov x9, #0
find_end:
    c0035fd6                ret
cut:
    2a2d43a9                ldp x10, x11, [x9, #48]
    6b0140f9                ldr x11, [x11]
    4c3540a9                ldp x12, x13, [x10]
    6b010c8b                add x11, x11, x12
    7f010deb                cmp x11, x13
    42000054                b.hs cut_end
    4b0500f9                str x11, [x10, #8]
cut_end:
    c0035fd6                ret
intercept_msr:
    f1031eaa                mov x17, x30
    ecffff97                bl find
    fe0311aa                mov x30, x17
    09fdffb4                cbz x9, intercept_real
    2a0940f9                ldr x10, [x9, #16]
    0b0840b9                ldr w11, [x0, #8]
msr_next:
    4c35c1a8                ldp x12, x13, [x10], #16
    8dfcffb4                cbz x13, intercept_real
    6c010ccb                sub x12, x11, x12
    9f010deb                cmp x12, x13
    82ffff54                b.hs msr_next
    fd7bbda9                stp x29, x30, [sp, #-48]!
    e00b01a9                stp x0, x2, [sp, #16]
    e90f02a9                stp x9, x3, [sp, #32]
    e003022a                mov w0, w2
    300d40f9                ldr x16, [x9, #24]
    00023fd6                blr x16
    ea03002a                mov w10, w0
    e90f42a9                ldp x9, x3, [sp, #32]
    e00b41a9                ldp x0, x2, [sp, #16]
    fd7bc3a8                ldp x29, x30, [sp], #48
    810f8052                mov w1, #124
    aafaff34                cbz w10, intercept_real
    e2000035                cbnz w2, msr_done
    0a4040f9                ldr x10, [x0, #128]
    4a090091                add x10, x10, #2
    0a4000f9                str x10, [x0, #128]
    200540f9                ldr x0, [x9, #8]
    b07aff58                ldr x16, loop_exit
    00021fd6                br x16
msr_done:
    c0035fd6                ret
deliver:
    e1010035                cbnz w1, deliver_real
    f1031eaa                mov x17, x30
    ccffff97                bl find
    fe0311aa                mov x30, x17
    690100b4                cbz x9, deliver_real
    2a1d40f9                ldr x10, [x9, #56]
    4a0140f9                ldr x10, [x10]
    4a0100b5                cbnz x10, deliver_hold
    212942a9                ldp x1, x10, [x9, #32]
    4a050091                add x10, x10, #1
    2a1500f9                str x10, [x9, #40]
    2a2540f9                ldr x10, [x9, #72]
    6a0000b4                cbz x10, deliver_real
    ccffff97                bl cut
    fe0311aa                mov x30, x17
deliver_real:
    3078ff58                ldr x16, real_deliver
    00021fd6                br x16
deliver_hold:
    2a2140f9                ldr x10, [x9, #64]
    4b0140b9                ldr w11, [x10]
    6b011f32                orr w11, w11, #2
    4b0100b9                str w11, [x10]
    c4ffff17                b cut
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
