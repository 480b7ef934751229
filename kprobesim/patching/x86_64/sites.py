"""Tables of places that are patched one like the other: returns, LOCKs, ENDBRs, ftrace's calls."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from kprobesim.patching.text import Code
from kprobesim.patching.x86_64.nops import atomic_nop

__all__ = [
    "apply_returns",
    "make_ftrace_nops",
    "seal_endbr",
    "set_runtime_constants",
    "unlock_smp",
]

_RETURNS = ("__return_sites", "__return_sites_end", ".return_sites")
_LOCKS = ("__smp_locks", "__smp_locks_end", ".smp_locks")
_SEALS = ("__ibt_endbr_seal", "__ibt_endbr_seal_end", ".ibt_endbr_seal")

_USER_POINTERS = (
    "__start_runtime_ptr_USER_PTR_MAX",
    "__stop_runtime_ptr_USER_PTR_MAX",
    "runtime_ptr_USER_PTR_MAX",
)
_USER_PTR_MAX = (0x7FFF_FFFF_F000).to_bytes(8, "little")  # with four levels of page tables

_RET = bytes.fromhex("c3cccccccc")
_CALL, _JMP, _LOCK, _DS = 0xE8, 0xE9, 0xF0, 0x3E
_ENDBR = bytes.fromhex("f30f1efa")
_POISON = bytes.fromhex("660f1f00")
_POISON_6_18 = bytes.fromhex("0f1f40d6")


def apply_returns(code: Code) -> None:
    """``jmp __x86_return_thunk`` becomes a return and four INT3s (apply_returns(), 5.19)."""
    thunk = code.symbol("__x86_return_thunk")
    if thunk is None:
        return
    distance = struct.Struct("<i").unpack_from
    for place, data, at in code.each(code.distances(*_RETURNS), 5):
        if data[at] == _JMP and place + 5 + distance(data, at + 1)[0] == thunk:
            data[at : at + 5] = _RET


def unlock_smp(code: Code, ranges: Iterable[tuple[int, int]]) -> None:
    """One CPU needs no LOCK prefixes: DS prefixes take their place (alternatives_smp_unlock())."""
    for low, high in ranges:
        places = (place for place in code.distances(*_LOCKS) if low <= place < high)
        for _, data, at in code.each(places, 1):
            if data[at] == _LOCK:
                data[at] = _DS


def seal_endbr(code: Code) -> None:
    """ENDBRs that no indirect branch needs become NOPs (apply_seal_endbr(), 5.18)."""
    poison = _POISON_6_18 if code.image.version[:2] >= (6, 18) else _POISON
    for _, data, at in code.each(code.distances(*_SEALS), 4):
        if data[at : at + 4] == _ENDBR:
            data[at : at + 4] = poison


def set_runtime_constants(code: Code) -> None:
    """The end of user memory is written into the code that asks for it (6.13).

    The other constants of that kind are addresses and sizes of tables that boot allocates.
    """
    for _, data, at in code.each(code.distances(*_USER_POINTERS), 8):
        data[at : at + 8] = _USER_PTR_MAX


def make_ftrace_nops(code: Code) -> None:
    """Calls of ``__fentry__`` become 5-byte NOPs (ftrace_init())."""
    nop = atomic_nop(code.image.version)
    for _, data, at in code.each(code.image.ftrace_sites, 5):
        if data[at] == _CALL:
            data[at : at + 5] = nop
