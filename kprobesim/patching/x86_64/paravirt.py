"""Paravirtual calls: on bare hardware they become direct calls, or what the callee does.

Until 6.7 they have a table of their own (apply_paravirt(), arch/x86/kernel/alternative.c and
paravirt.c); since 6.8 they are alternatives.
"""

from __future__ import annotations

import struct

from kprobesim.patching.text import Code, branch
from kprobesim.patching.x86_64.nops import nop_table, nops

__all__ = ["apply_paravirt"]

TABLE = ("__parainstructions", "__parainstructions_end", ".parainstructions")

_ENTRY = struct.Struct("<QBB6x")  # struct paravirt_patch_site: place, number in pv_ops, length

#: What 5.10 writes instead of a call of these (paravirt_patch.c); later kernels have alternatives.
_INLINE_5_10 = {
    "native_save_fl": "9c58",
    "native_restore_fl": "579d",
    "native_irq_enable": "fb",
    "native_irq_disable": "fa",
    "native_read_cr2": "0f20d0",
    "__native_read_cr3": "0f20d8",
    "native_write_cr3": "0f22df",
    "native_wbinvd": "0f09",
    "native_swapgs": "0f01f8",
    "native_usergs_sysret64": "0f01f8480f07",
    "__native_queued_spin_unlock": "c60700",
    "__raw_callee_save___native_queued_spin_unlock": "c60700",
    "__native_vcpu_is_preempted": "31c0",
    "__raw_callee_save___native_vcpu_is_preempted": "31c0",
}
_MOV_RDI_RAX = bytes.fromhex("4889f8")
_CALL, _JMP32 = 0xE8, 0xE9
_NEVER_RETURNS_5_10 = "native_iret"


def apply_paravirt(code: Code) -> None:
    """Write what a kernel on hardware has."""
    found = code.image.table(*TABLE)
    pv_ops = code.symbol("pv_ops")
    if found is None or pv_ops is None:
        return
    _, table = found
    old = code.image.version[:2] < (5, 13)
    jumped = {one.address for one in code.image.symbols.candidates(_NEVER_RETURNS_5_10) if old}
    table_of_nops = nop_table(code.image.version)
    inline = _addresses(code, _INLINE_5_10) if old else {}
    same = code.symbol("_paravirt_ident_64")
    nothing = code.symbol("_paravirt_nop")
    functions: dict[int, int] = {}
    table += bytes(-len(table) % _ENTRY.size)  # the last entry may come without its padding
    rows = {row[0]: row for row in _ENTRY.iter_unpack(table)}
    for place, data, at in code.each(rows, 1):
        _, number, length = rows[place]
        function = functions.get(number)
        if function is None:
            function = functions[number] = code.read_word(pv_ops + 8 * number)
        if not function:
            continue
        if function == nothing:
            new = b""
        elif function in inline:
            new = inline[function]
        elif function == same and old:
            new = _MOV_RDI_RAX
        else:
            new = branch(_JMP32 if function in jumped else _CALL, place, function)
        if len(new) <= length and at + length <= len(data):
            data[at : at + length] = new + nops(length - len(new), table_of_nops)


def _addresses(code: Code, table: dict[str, str]) -> dict[int, bytes]:
    """The same by address: each file may have one of its own."""
    return {
        symbol.address: bytes.fromhex(text)
        for name, text in table.items()
        for symbol in code.image.symbols.candidates(name)
    }
