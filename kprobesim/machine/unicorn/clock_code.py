"""Machine code for the host: reads the time as an instruction of a booted guest does.

What it does is told in :mod:`~kprobesim.machine.unicorn.clock_reads`. Registers are those of the C
calling conventions; nothing is saved, nothing is allocated. What it knows of the guest lies in
:data:`DATA`, to which the last argument points.
"""

from __future__ import annotations

__all__ = ["CODE", "DATA", "NO_WORD"]

DATA = ("time", "counter", "registers", "read_ns", "read_counts", "word_of", "shift")
"""Where the time's two words are, the counter with its limit, and the registers; how long reading
takes, in nanoseconds and in counts; where the number of each register's word is, by Unicorn's
number of the register; by how many bits the time is shifted to be ARM64's counter."""

NO_WORD = 255
"""The number of a register that has no word: XZR."""

_X86_64 = """
rdtscp:
    488b4610                mov rax, [rsi + 16]
    48c7400800000000        mov qword ptr [rax + 8], 0
rdtsc:
    4989f0                  mov r8, rsi
    e848000000              call read
    4d8b4810                mov r9, [r8 + 16]
    89c1                    mov ecx, eax
    498909                  mov [r9], rcx
    48c1e820                shr rax, 32
    49894110                mov [r9 + 16], rax
    b801000000              mov eax, 1
    c3                      ret
mrs:
    4989c8                  mov r8, rcx
    4d8b4828                mov r9, [r8 + 40]
    89f6                    mov esi, esi
    450fb61c31              movzx r11d, byte ptr [r9 + rsi]
    4181fbff000000          cmp r11d, 255
    7414                    je mrs_end
    e815000000              call read
    498b4830                mov rcx, [r8 + 48]
    48d3e8                  shr rax, cl
    4d8b4810                mov r9, [r8 + 16]
    4b8904d9                mov [r9 + r11*8], rax
mrs_end:
    b801000000              mov eax, 1
    c3                      ret
read:
    4d8b08                  mov r9, [r8]
    498b01                  mov rax, [r9]
    49034018                add rax, [r8 + 24]
    498901                  mov [r9], rax
    4d8b5008                mov r10, [r8 + 8]
    498b0a                  mov rcx, [r10]
    498b5208                mov rdx, [r10 + 8]
    492b5020                sub rdx, [r8 + 32]
    4839ca                  cmp rdx, rcx
    480f4cd1                cmovl rdx, rcx
    49895208                mov [r10 + 8], rdx
    490faf4908              imul rcx, [r9 + 8]
    4801c8                  add rax, rcx
    c3                      ret
"""

_AARCH64 = """
rdtscp:
    290840f9                ldr x9, [x1, #16]
    3f0500f9                str xzr, [x9, #8]
rdtsc:
    e80301aa                mov x8, x1
    f0031eaa                mov x16, x30
    17000094                bl read
    fe0310aa                mov x30, x16
    0a0940f9                ldr x10, [x8, #16]
    eb03092a                mov w11, w9
    4b0100f9                str x11, [x10]
    29fd60d3                lsr x9, x9, #32
    490900f9                str x9, [x10, #16]
    20008052                mov w0, #1
    c0035fd6                ret
mrs:
    e80303aa                mov x8, x3
    0a1540f9                ldr x10, [x8, #40]
    4f496138                ldrb w15, [x10, w1, uxtw]
    fffd0371                cmp w15, #255
    00010054                b.eq mrs_end
    f0031eaa                mov x16, x30
    08000094                bl read
    fe0310aa                mov x30, x16
    0a1940f9                ldr x10, [x8, #48]
    2925ca9a                lsr x9, x9, x10
    0a0940f9                ldr x10, [x8, #16]
    49792ff8                str x9, [x10, x15, lsl #3]
mrs_end:
    20008052                mov w0, #1
    c0035fd6                ret
read:
    0a0140f9                ldr x10, [x8]
    492d40a9                ldp x9, x11, [x10]
    0c0d40f9                ldr x12, [x8, #24]
    29010c8b                add x9, x9, x12
    490100f9                str x9, [x10]
    0a0540f9                ldr x10, [x8, #8]
    4c3540a9                ldp x12, x13, [x10]
    0e1140f9                ldr x14, [x8, #32]
    ad010ecb                sub x13, x13, x14
    bf010ceb                cmp x13, x12
    8db18d9a                csel x13, x12, x13, lt
    4d0500f9                str x13, [x10, #8]
    89250b9b                madd x9, x12, x11, x9
    c0035fd6                ret
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
