"""Machine code for the host: what stands in for functions of Unicorn's that drop translations.

Each counts in a word of the CPU, its first argument, that translations were dropped, and goes on to
Unicorn's own function. A page of words, by the names in :data:`WORDS`, lies before the code. What
it is for is told in :mod:`~kprobesim.machine.unicorn.tlb_flushes`.
"""

from __future__ import annotations

__all__ = ["CODE", "WORDS"]

WORDS = (
    *("counter", "real_flush", "real_flush_all", "real_flush_synced"),
    *("real_page", "real_page_all", "real_page_synced", "real_reset_dirty"),
)
"""What lies before the code: how far from the CPU's own address the word is; functions."""

_X86_64 = """
flush:
    488b05f9efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25f7efffff            jmp [rip + real_flush]
flush_all:
    488b05e8efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25eeefffff            jmp [rip + real_flush_all]
flush_synced:
    488b05d7efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25e5efffff            jmp [rip + real_flush_synced]
page:
    488b05c6efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25dcefffff            jmp [rip + real_page]
page_all:
    488b05b5efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25d3efffff            jmp [rip + real_page_all]
page_synced:
    488b05a4efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25caefffff            jmp [rip + real_page_synced]
reset_dirty:
    488b0593efffff          mov rax, [rip + counter]
    48ff0407                inc qword ptr [rdi + rax]
    ff25c1efffff            jmp [rip + real_reset_dirty]
"""

_AARCH64 = """
flush:
    1080ff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    d07fff58                ldr x16, real_flush
    00021fd6                br x16
flush_all:
    507fff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    507fff58                ldr x16, real_flush_all
    00021fd6                br x16
flush_synced:
    907eff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    d07eff58                ldr x16, real_flush_synced
    00021fd6                br x16
page:
    d07dff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    507eff58                ldr x16, real_page
    00021fd6                br x16
page_all:
    107dff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    d07dff58                ldr x16, real_page_all
    00021fd6                br x16
page_synced:
    507cff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    507dff58                ldr x16, real_page_synced
    00021fd6                br x16
reset_dirty:
    907bff58                ldr x16, counter
    116870f8                ldr x17, [x0, x16]
    31060091                add x17, x17, #1
    116830f8                str x17, [x0, x16]
    d07cff58                ldr x16, real_reset_dirty
    00021fd6                br x16
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
