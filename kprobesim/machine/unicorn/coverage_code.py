"""Machine code for the host: notes each block that runs, as an edge in a map and in a table.

``covered`` is a :class:`~kprobesim.machine.unicorn.native.Native` function whose data are the words
:data:`AREA`. The map is that of AFL's QEMU mode (``afl-qemu-cpu-inl.h`` 2.57b): a block is
``address >> 4 ^ address << 8`` modulo 64 Ki, an edge that of the block and of half the one before.
As in AFL++, a counter that is full goes on with 1. A table's entry is the block's address, and its
size in the upper 16 bits of a word that counts.
"""

from __future__ import annotations

from kprobesim.sizes import MASK64

__all__ = ["AREA", "CODE", "EMPTY", "MAP_BYTES", "SIZE_SHIFT"]

AREA = ("low", "span", "map", "before", "table", "mask", "used", "most", "full")
"""Whose blocks are noted, as the lowest address and how many there are; where the map is, or 0, and
half the block before; where the table is, or 0, the number of its entries less one, how many are
used, how many may be, and what is called in the place of ``covered`` when one is needed beyond."""

MAP_BYTES = 1 << 16
SIZE_SHIFT = 48
EMPTY = MASK64
"""In the place of an address: the table's entry is free."""

_X86_64 = """
covered:
    4889f0                  mov rax, rsi
    482b01                  sub rax, [rcx]
    483b4108                cmp rax, [rcx + 8]
    0f83a6000000            jae covered_end
    89d2                    mov edx, edx
    4c8b4110                mov r8, [rcx + 16]
    4d85c0                  test r8, r8
    742e                    je covered_block
    4889f0                  mov rax, rsi
    48c1e804                shr rax, 4
    4989f1                  mov r9, rsi
    49c1e108                shl r9, 8
    4c31c8                  xor rax, r9
    0fb7c0                  movzx eax, ax
    4c8b4918                mov r9, [rcx + 24]
    4931c1                  xor r9, rax
    d1e8                    shr eax, 1
    48894118                mov [rcx + 24], rax
    430fb60408              movzx eax, byte ptr [r8 + r9]
    0401                    add al, 1
    1400                    adc al, 0
    43880408                mov byte ptr [r8 + r9], al
covered_block:
    4c8b4120                mov r8, [rcx + 32]
    4d85c0                  test r8, r8
    7464                    je covered_end
    4889f0                  mov rax, rsi
    48c1e804                shr rax, 4
    4831f0                  xor rax, rsi
covered_next:
    48234128                and rax, [rcx + 40]
    4989c1                  mov r9, rax
    49c1e104                shl r9, 4
    4d01c1                  add r9, r8
    4d8b11                  mov r10, [r9]
    48ffc0                  inc rax
    4939f2                  cmp r10, rsi
    7420                    je covered_found
    4983faff                cmp r10, -1
    75e1                    jne covered_next
    488b4130                mov rax, [rcx + 48]
    483b4138                cmp rax, [rcx + 56]
    7332                    jae covered_full
    48ffc0                  inc rax
    48894130                mov [rcx + 48], rax
    498931                  mov [r9], rsi
    31c0                    xor eax, eax
    49894108                mov [r9 + 8], rax
covered_found:
    498b4108                mov rax, [r9 + 8]
    48ffc0                  inc rax
    4989c2                  mov r10, rax
    49c1ea30                shr r10, 48
    4939d2                  cmp r10, rdx
    730a                    jae covered_store
    4c29d2                  sub rdx, r10
    48c1e230                shl rdx, 48
    4801d0                  add rax, rdx
covered_store:
    49894108                mov [r9 + 8], rax
covered_end:
    c3                      ret
covered_full:
    ff6140                  jmp [rcx + 64]
"""

_AARCH64 = """
covered:
    692840a9                ldp x9, x10, [x3]
    290009cb                sub x9, x1, x9
    3f010aeb                cmp x9, x10
    c2040054                b.hs covered_end
    e203022a                mov w2, w2
    692841a9                ldp x9, x10, [x3, #16]
    690100b4                cbz x9, covered_block
    2bfc44d3                lsr x11, x1, #4
    6b2101ca                eor x11, x11, x1, lsl #8
    6b3d4092                and x11, x11, #0xffff
    4a010bca                eor x10, x10, x11
    6bfd41d3                lsr x11, x11, #1
    6b0c00f9                str x11, [x3, #24]
    2b696a38                ldrb w11, [x9, x10]
    6b050011                add w11, w11, #1
    6b214b0b                add w11, w11, w11, lsr #8
    2b692a38                strb w11, [x9, x10]
covered_block:
    692842a9                ldp x9, x10, [x3, #32]
    e90200b4                cbz x9, covered_end
    2b1041ca                eor x11, x1, x1, lsr #4
covered_next:
    6b010a8a                and x11, x11, x10
    2c110b8b                add x12, x9, x11, lsl #4
    8d0140f9                ldr x13, [x12]
    6b050091                add x11, x11, #1
    bf0101eb                cmp x13, x1
    20010054                b.eq covered_found
    bf0500b1                cmn x13, #1
    21ffff54                b.ne covered_next
    6d3843a9                ldp x13, x14, [x3, #48]
    bf010eeb                cmp x13, x14
    82010054                b.hs covered_full
    ad050091                add x13, x13, #1
    6d1800f9                str x13, [x3, #48]
    817d00a9                stp x1, xzr, [x12]
covered_found:
    8d0540f9                ldr x13, [x12, #8]
    ad050091                add x13, x13, #1
    aefd70d3                lsr x14, x13, #48
    42000eeb                subs x2, x2, x14
    49000054                b.ls covered_store
    adc1028b                add x13, x13, x2, lsl #48
covered_store:
    8d0500f9                str x13, [x12, #8]
covered_end:
    c0035fd6                ret
covered_full:
    702040f9                ldr x16, [x3, #64]
    00021fd6                br x16
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""
