"""Machine code for the host: what stands in for ``cpu_restore_state()``, which finds a pc.

It does nothing for a CPU in the table that counts, if its code goes on behind it: the third
argument is false.
Registers are those of the C calling conventions. A page of words, by the names in :data:`WORDS`,
lies before the code. What it is for is told in :mod:`~kprobesim.machine.unicorn.known_places`.
"""

from __future__ import annotations

__all__ = ["CODE", "ENTRY", "WORDS"]

WORDS = ("table", "count", "real_restore")
"""What lies before the code: a table of :data:`ENTRY`, how many it has, the function."""

ENTRY = ("cpu", "limit")
"""A CPU, and where the word is that is 0 while nothing is counted."""

_X86_64 = """
restore:
    84d2                    test dl, dl
    752f                    jne restore_real
    4c8b15f5efffff          mov r10, [rip + table]
    4c8b1df6efffff          mov r11, [rip + count]
restore_next:
    4983eb01                sub r11, 1
    721b                    jb restore_real
    49393a                  cmp [r10], rdi
    7406                    je restore_known
    4983c210                add r10, 16
    ebef                    jmp restore_next
restore_known:
    4d8b5208                mov r10, [r10 + 8]
    49833a00                cmp qword ptr [r10], 0
    7406                    je restore_real
    b801000000              mov eax, 1
    c3                      ret
restore_real:
    ff25d7efffff            jmp [rip + real_restore]
"""

_AARCH64 = """
restore:
    5f1c0072                tst w2, #0xff
    81010054                b.ne restore_real
    c97fff58                ldr x9, table
    ea7fff58                ldr x10, count
restore_next:
    4a0500f1                subs x10, x10, #1
    03010054                b.lo restore_real
    2b31c1a8                ldp x11, x12, [x9], #16
    7f0100eb                cmp x11, x0
    81ffff54                b.ne restore_next
    8c0140f9                ldr x12, [x12]
    6c0000b4                cbz x12, restore_real
    20008052                mov w0, #1
    c0035fd6                ret
restore_real:
    f07eff58                ldr x16, real_restore
    00021fd6                br x16
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
