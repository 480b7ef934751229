"""32-bit CMPXCHG as CPUs do it: RAX changes only where the comparison fails.

Unicorn 2.1.4, as QEMU 5.0, writes EAX in any case, which clears the upper half of RAX (QEMU 7.2
mended it). CMPXCHG is in every lock, so a hook on each is out of the question. Instead the
translation is mended: three functions by which Unicorn's translator writes down what an instruction
does are replaced (:mod:`~kprobesim.machine.unicorn.interposition`), and where it writes down
``EAX = zero-extended old value`` behind a CMPXCHG it becomes ``RAX = old == expected ? RAX : old``.
It costs nothing when the code runs. Other hosts than x86-64 and aarch64 stay as they are, and so
does a CMPXCHG of two registers, which nobody compiles: where it fails, it clears the upper half of
its destination.

A CMPXCHG is known by what comes before: with LOCK ``tcg_gen_atomic_cmpxchg_i64()`` of 32 bits,
whose next zero-extension is EAX's (LOCK NEG is one, too, but its old value takes the place of the
expected one, and it has no such extension); without LOCK zero-extensions of the old and of the
expected value in place, and then a conditional move of their equality that keeps the old value.

The code is laid out as that of :mod:`~kprobesim.machine.unicorn.host_code`. A slot of 64 bytes for
each translator (by its address; two rarely share one) holds: whose it is, whether EAX's extension
comes next, the old value, the expected one, and what the last two extensions in place were of.
"""

from __future__ import annotations

from functools import cache

from kprobesim.machine.unicorn.host_code import assemble, host_machine, put_code
from kprobesim.machine.unicorn.interposition import find_function, find_slots
from kprobesim.machine.unicorn.library import library

__all__ = ["CODE", "SLOTS", "WORDS", "mend_cmpxchg"]

WORDS = ("slots", "real_ext32u", "real_movcond", "real_cmpxchg")
"""What lies before the code: where the slots are, and Unicorn's functions."""

SLOTS = 4096 * 64
"""How many bytes the slots take."""

_X86_64 = """
ext32u:
    4989fa                  mov r10, rdi
    49c1ea08                shr r10, 8
    4181e2ff0f0000          and r10d, 4095
    49c1e206                shl r10, 6
    4c0315e7efffff          add r10, [rip + slots]
    49393a                  cmp [r10], rdi
    755a                    jne ext32u_other
    49837a0800              cmp qword ptr [r10 + 8], 0
    743c                    je ext32u_plain
    49c7420800000000        mov qword ptr [r10 + 8], 0
    493b5210                cmp rdx, [r10 + 16]
    7545                    jne ext32u_other
    57                      push rdi
    56                      push rsi
    4152                    push r10
    498b7218                mov rsi, [r10 + 24]
    4889f2                  mov rdx, rsi
    ff15c4efffff            call [rip + real_ext32u]
    415a                    pop r10
    5a                      pop rdx
    5f                      pop rdi
    498b4a10                mov rcx, [r10 + 16]
    4d8b4218                mov r8, [r10 + 24]
    4989d1                  mov r9, rdx
    be08000000              mov esi, 8
    51                      push rcx
    ff15b1efffff            call [rip + real_movcond]
    59                      pop rcx
    c3                      ret
ext32u_plain:
    4839d6                  cmp rsi, rdx
    7512                    jne ext32u_other
    498b4220                mov rax, [r10 + 32]
    49894228                mov [r10 + 40], rax
    49895220                mov [r10 + 32], rdx
    ff2590efffff            jmp [rip + real_ext32u]
ext32u_other:
    49893a                  mov [r10], rdi
    49c7420800000000        mov qword ptr [r10 + 8], 0
    49c7422000000000        mov qword ptr [r10 + 32], 0
    4839d6                  cmp rsi, rdx
    7504                    jne ext32u_go
    49895220                mov [r10 + 32], rdx
ext32u_go:
    49c7422800000000        mov qword ptr [r10 + 40], 0
    ff2566efffff            jmp [rip + real_ext32u]
movcond:
    4989fa                  mov r10, rdi
    49c1ea08                shr r10, 8
    4181e2ff0f0000          and r10d, 4095
    49c1e206                shl r10, 6
    4c031545efffff          add r10, [rip + slots]
    83fe08                  cmp esi, 8
    752d                    jne movcond_go
    4c39ca                  cmp rdx, r9
    7528                    jne movcond_go
    483b4c2408              cmp rcx, [rsp + 8]
    7521                    jne movcond_go
    49393a                  cmp [r10], rdi
    751c                    jne movcond_go
    493b4a28                cmp rcx, [r10 + 40]
    7516                    jne movcond_go
    4d3b4220                cmp r8, [r10 + 32]
    7510                    jne movcond_go
    49894a10                mov [r10 + 16], rcx
    4d894218                mov [r10 + 24], r8
    49c7420801000000        mov qword ptr [r10 + 8], 1
movcond_go:
    ff251defffff            jmp [rip + real_movcond]
cmpxchg:
    57                      push rdi
    56                      push rsi
    51                      push rcx
    50                      push rax
    ff742428                push qword ptr [rsp + 40]
    ff1517efffff            call [rip + real_cmpxchg]
    58                      pop rax
    59                      pop rcx
    59                      pop rcx
    5e                      pop rsi
    5f                      pop rdi
    4989fa                  mov r10, rdi
    49c1ea08                shr r10, 8
    4181e2ff0f0000          and r10d, 4095
    49c1e206                shl r10, 6
    4c0315e1eeffff          add r10, [rip + slots]
    49893a                  mov [r10], rdi
    49897210                mov [r10 + 16], rsi
    49894a18                mov [r10 + 24], rcx
    83e003                  and eax, 3
    83f802                  cmp eax, 2
    0f94c0                  sete al
    4839ce                  cmp rsi, rcx
    0f95c1                  setne cl
    20c8                    and al, cl
    0fb6c0                  movzx eax, al
    49894208                mov [r10 + 8], rax
    c3                      ret
"""

_AARCH64 = """
ext32u:
    094c48d3                ubfx x9, x0, #8, #12
    ea7fff58                ldr x10, slots
    4919098b                add x9, x10, x9, lsl #6
    2a0140f9                ldr x10, [x9]
    5f0100eb                cmp x10, x0
    a1030054                b.ne ext32u_other
    2a0540f9                ldr x10, [x9, #8]
    aa0200b4                cbz x10, ext32u_plain
    3f0500f9                str xzr, [x9, #8]
    2a0940f9                ldr x10, [x9, #16]
    5f000aeb                cmp x2, x10
    e1020054                b.ne ext32u_other
    fd7bbda9                stp x29, x30, [sp, #-48]!
    e00701a9                stp x0, x1, [sp, #16]
    e91300f9                str x9, [sp, #32]
    210d40f9                ldr x1, [x9, #24]
    e20301aa                mov x2, x1
    307eff58                ldr x16, real_ext32u
    00023fd6                blr x16
    e91340f9                ldr x9, [sp, #32]
    e00b41a9                ldp x0, x2, [sp, #16]
    fd7bc3a8                ldp x29, x30, [sp], #48
    231141a9                ldp x3, x4, [x9, #16]
    e50302aa                mov x5, x2
    e60303aa                mov x6, x3
    01018052                mov w1, #8
    507dff58                ldr x16, real_movcond
    00021fd6                br x16
ext32u_plain:
    3f0002eb                cmp x1, x2
    a1000054                b.ne ext32u_other
    2a1140f9                ldr x10, [x9, #32]
    222902a9                stp x2, x10, [x9, #32]
    507cff58                ldr x16, real_ext32u
    00021fd6                br x16
ext32u_other:
    207d00a9                stp x0, xzr, [x9]
    3f0002eb                cmp x1, x2
    4a009f9a                csel x10, x2, xzr, eq
    2a7d02a9                stp x10, xzr, [x9, #32]
    907bff58                ldr x16, real_ext32u
    00021fd6                br x16
movcond:
    094c48d3                ubfx x9, x0, #8, #12
    ea7aff58                ldr x10, slots
    4919098b                add x9, x10, x9, lsl #6
    3f200071                cmp w1, #8
    01020054                b.ne movcond_go
    5f0005eb                cmp x2, x5
    c1010054                b.ne movcond_go
    7f0006eb                cmp x3, x6
    81010054                b.ne movcond_go
    2a0140f9                ldr x10, [x9]
    5f0100eb                cmp x10, x0
    21010054                b.ne movcond_go
    2a2d42a9                ldp x10, x11, [x9, #32]
    7f0103eb                cmp x11, x3
    c1000054                b.ne movcond_go
    5f0104eb                cmp x10, x4
    81000054                b.ne movcond_go
    231101a9                stp x3, x4, [x9, #16]
    2a008052                mov w10, #1
    2a0500f9                str x10, [x9, #8]
movcond_go:
    1079ff58                ldr x16, real_movcond
    00021fd6                br x16
cmpxchg:
    fd7bbda9                stp x29, x30, [sp, #-48]!
    e00701a9                stp x0, x1, [sp, #16]
    e31b02a9                stp x3, x6, [sp, #32]
    b078ff58                ldr x16, real_cmpxchg
    00023fd6                blr x16
    e31b42a9                ldp x3, x6, [sp, #32]
    e00741a9                ldp x0, x1, [sp, #16]
    fd7bc3a8                ldp x29, x30, [sp], #48
    094c48d3                ubfx x9, x0, #8, #12
    2a77ff58                ldr x10, slots
    4919098b                add x9, x10, x9, lsl #6
    c6040012                and w6, w6, #3
    df080071                cmp w6, #2
    ea179f9a                cset x10, eq
    3f0003eb                cmp x1, x3
    4a119f9a                csel x10, x10, xzr, ne
    202900a9                stp x0, x10, [x9]
    210d01a9                stp x1, x3, [x9, #16]
    c0035fd6                ret
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""

_FUNCTIONS = {
    "ext32u": "tcg_gen_ext32u_i64_x86_64",
    "movcond": "tcg_gen_movcond_i64_x86_64",
    "cmpxchg": "tcg_gen_atomic_cmpxchg_i64_x86_64",
}


@cache
def mend_cmpxchg() -> bool:
    """Let x86-64 guests of this process execute CMPXCHG right; whether that can be done."""
    host = host_machine()
    slots = find_slots(library(), _FUNCTIONS.values()) if host in CODE else {}
    if len(slots) != len(_FUNCTIONS):
        return False
    code, labels = assemble(CODE[host])
    values = {f"real_{label}": find_function(library(), _FUNCTIONS[label]) for label in _FUNCTIONS}
    area = put_code(code, WORDS, values, "slots", SLOTS)
    for label, name in _FUNCTIONS.items():
        slots[name].value = area.code + labels[label]
    return True
