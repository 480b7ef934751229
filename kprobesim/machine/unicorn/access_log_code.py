"""Machine code for the host: loads, stores and marks as records, one behind the other."""

from __future__ import annotations

__all__ = ["CODE"]

CODE = {
    "x86_64": """
note:
    498b01                  mov rax, qword ptr [r9]
    493b4108                cmp rax, qword ptr [r9+0x8]
    732b                    jae full
    4d8b5110                mov r10, qword ptr [r9+0x10]
    4d8b12                  mov r10, qword ptr [r10]
    4c8910                  mov qword ptr [rax], r10
    4d8b5118                mov r10, qword ptr [r9+0x18]
    4d8b12                  mov r10, qword ptr [r10]
    4c895008                mov qword ptr [rax+0x8], r10
    48895010                mov qword ptr [rax+0x10], rdx
    4c894018                mov qword ptr [rax+0x18], r8
    894820                  mov dword ptr [rax+0x20], ecx
    897024                  mov dword ptr [rax+0x24], esi
    4883c028                add rax, 0x28
    498901                  mov qword ptr [r9], rax
    c3                      ret
full:
    49ff4120                inc qword ptr [r9+0x20]
    c3                      ret
mark:
    488b01                  mov rax, qword ptr [rcx]
    483b4108                cmp rax, qword ptr [rcx+0x8]
    732c                    jae mark_full
    4c8b5110                mov r10, qword ptr [rcx+0x10]
    4d8b12                  mov r10, qword ptr [r10]
    4c8910                  mov qword ptr [rax], r10
    48897008                mov qword ptr [rax+0x8], rsi
    4531d2                  xor r10d, r10d
    4c895010                mov qword ptr [rax+0x10], r10
    4c895018                mov qword ptr [rax+0x18], r10
    44895020                mov dword ptr [rax+0x20], r10d
    c7402401000000          mov dword ptr [rax+0x24], 1
    4883c028                add rax, 0x28
    488901                  mov qword ptr [rcx], rax
    c3                      ret
mark_full:
    48ff4120                inc qword ptr [rcx+0x20]
    c3                      ret
""",
    "aarch64": """
note:
    a61c40a9                ldp x6, x7, [x5]
    df0007eb                cmp x6, x7
    42010054                b.hs full
    a72041a9                ldp x7, x8, [x5, #16]
    e70040f9                ldr x7, [x7]
    080140f9                ldr x8, [x8]
    c72000a9                stp x7, x8, [x6]
    c21001a9                stp x2, x4, [x6, #16]
    c3040429                stp w3, w1, [x6, #32]
    c6a00091                add x6, x6, #0x28
    a60000f9                str x6, [x5]
    c0035fd6                ret
full:
    a71040f9                ldr x7, [x5, #32]
    e7040091                add x7, x7, #0x1
    a71000f9                str x7, [x5, #32]
    c0035fd6                ret
mark:
    661c40a9                ldp x6, x7, [x3]
    df0007eb                cmp x6, x7
    42010054                b.hs mark_full
    670840f9                ldr x7, [x3, #16]
    e70040f9                ldr x7, [x7]
    c70400a9                stp x7, x1, [x6]
    df7c01a9                stp xzr, xzr, [x6, #16]
    27008052                mov w7, #0x1
    df1c0429                stp wzr, w7, [x6, #32]
    c6a00091                add x6, x6, #0x28
    660000f9                str x6, [x3]
    c0035fd6                ret
mark_full:
    671040f9                ldr x7, [x3, #32]
    e7040091                add x7, x7, #0x1
    671000f9                str x7, [x3, #32]
    c0035fd6                ret
""",
}
"""``note`` is Unicorn's ``uc_cb_hookmem_t``, ``mark`` one of
:class:`~kprobesim.machine.unicorn.native.Native`, by the host's architecture.

The last argument of both are five words: where the next record goes, where none goes any more, the
places of the count and of the pc, and how many found no room.
"""
