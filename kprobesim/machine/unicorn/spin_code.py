"""Machine code for the host: notes that a guest spins, and lets its turn end.

It stands in for ``cpu_loop_exit(cpu)``, by which Unicorn leaves translated code in the middle of a
block. What it does is told in :mod:`~kprobesim.machine.unicorn.spins`. It lies behind a page of
words (:data:`WORDS`), as that of :mod:`~kprobesim.machine.unicorn.host_code`.
"""

from __future__ import annotations

__all__ = ["CODE", "ENTRY", "WORDS"]

WORDS = ("table", "count", "real", "site", "seen")
"""What lies before the code, in words: who is watched, and how many; ``cpu_loop_exit()`` of
Unicorn's; where that returns to when the guest says that it spins; where it was to return to
otherwise, the first time since this word was 0."""

ENTRY = ("cpu", "counter", "words", "unused")
"""A watched engine's: its CPU; where its counter and, behind that, the limit are; where two words
are: whether a spin ends the run, and, if one has, at which count."""

_X86_64 = """
leave:
    488b0424                mov rax, [rsp]
    483b050df0ffff          cmp rax, [rip + site]
    754e                    jne leave_other
    4c8b15ecefffff          mov r10, [rip + table]
    4c8b1dedefffff          mov r11, [rip + count]
leave_next:
    4983eb01                sub r11, 1
    7234                    jb leave_real
    49393a                  cmp [r10], rdi
    7406                    je leave_spins
    4983c220                add r10, 32
    ebef                    jmp leave_next
leave_spins:
    498b5210                mov rdx, [r10 + 16]
    48833a00                cmp qword ptr [rdx], 0
    741f                    je leave_real
    48837a0800              cmp qword ptr [rdx + 8], 0
    7518                    jne leave_real
    498b4a08                mov rcx, [r10 + 8]
    488b01                  mov rax, [rcx]
    48ffc0                  inc rax
    48894208                mov [rdx + 8], rax
    483b4108                cmp rax, [rcx + 8]
    7304                    jae leave_real
    48894108                mov [rcx + 8], rax
leave_real:
    ff25b5efffff            jmp [rip + real]
leave_other:
    48833dbdefffff00        cmp qword ptr [rip + seen], 0
    75f0                    jne leave_real
    488905b4efffff          mov [rip + seen], rax
    ebe7                    jmp leave_real
"""

_AARCH64 = """
leave:
    c980ff58                ldr x9, site
    3f011eeb                cmp x9, x30
    c1020054                b.ne leave_other
    aa7fff58                ldr x10, table
    cb7fff58                ldr x11, count
leave_next:
    6b0500f1                subs x11, x11, #1
    03020054                b.lo leave_real
    4c0140f9                ldr x12, [x10]
    9f0100eb                cmp x12, x0
    60000054                b.eq leave_spins
    4a810091                add x10, x10, #32
    faffff17                b leave_next
leave_spins:
    4cb540a9                ldp x12, x13, [x10, #8]
    ae3d40a9                ldp x14, x15, [x13]
    0e0100b4                cbz x14, leave_real
    ef0000b5                cbnz x15, leave_real
    8e3d40a9                ldp x14, x15, [x12]
    ce050091                add x14, x14, #1
    ae0500f9                str x14, [x13, #8]
    df010feb                cmp x14, x15
    42000054                b.hs leave_real
    8e0500f9                str x14, [x12, #8]
leave_real:
    d07dff58                ldr x16, real
    00021fd6                br x16
leave_other:
    097eff58                ldr x9, seen
    a9ffffb5                cbnz x9, leave_real
    c97dff10                adr x9, seen
    3e0100f9                str x30, [x9]
    faffff17                b leave_real
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
