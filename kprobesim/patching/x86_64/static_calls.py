"""Static calls: calls of a trampoline become calls of the function that is behind it.

Facts: arch/x86/kernel/static_call.c, 5.10 to 7.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from kprobesim.image.tables.places import STATIC_CALLS
from kprobesim.patching.text import Code, branch
from kprobesim.patching.x86_64.nops import atomic_nop
from kprobesim.patching.x86_64.preemption import preemption_calls

__all__ = ["apply_module_static_calls", "apply_static_calls"]

_TAIL = 1
_FLAGS = 3
_KEY, _TRAMPOLINE = "__SCK__", "__SCT__"
_CALL, _JMP = 0xE8, 0xE9
_RET = bytes.fromhex("c3cccccccc")
_RETURN_ZERO = bytes.fromhex("2e2e2e31c0")  # xor %eax, %eax, five bytes long
_RETURN_ZERO_5_12 = bytes.fromhex("66664831c0")
_WARN = bytes.fromhex("67480fb93a")  # ud1 (%edx), %rdi: what stands for a call of __WARN_trap()


def apply_static_calls(code: Code) -> None:
    """Write what the image has chosen, and what boot chooses for preemption."""
    functions: dict[int, int] = {}
    for name, function in preemption_calls(code).items():
        key, trampoline = code.symbol(_KEY + name), code.symbol(_TRAMPOLINE + name)
        if key is not None:
            functions[key] = function
            code.variables[key] = function.to_bytes(8, "little")
        if trampoline is not None:
            code.write(trampoline, branch(_JMP, trampoline, function) if function else _RET)
    _patch_sites(code, functions, lambda key: key)


def apply_module_static_calls(code: Code) -> None:
    """Write what the kernel's keys, and the module's own, say now.

    A key that modules may not change has its trampoline in its place (tramp_key_lookup()).
    """

    def key_of(key: int) -> int:
        name = code.name_at(key) or ""
        if not name.startswith(_TRAMPOLINE):
            return key
        return code.symbol(_KEY + name.removeprefix(_TRAMPOLINE)) or key

    _patch_sites(code, {}, key_of)


def _patch_sites(code: Code, functions: dict[int, int], key_of: Callable[[int], int]) -> None:
    """``functions``: what stands behind a key, if not what the key says."""
    found = code.image.table(*STATIC_CALLS)
    if found is None:
        return
    start, table = found
    zero = code.symbol("__static_call_return0")
    warn = code.symbol("__WARN_trap")  # 6.19
    old = code.image.version[:2] < (5, 17)
    nop = atomic_nop(code.image.version)
    sites: dict[int, int] = {}
    for at, (place, key) in enumerate(struct.iter_unpack("<ii", table[: len(table) & ~7])):
        sites[start + 8 * at + place] = start + 8 * at + 4 + key
    for place, data, at in code.each(sites, 5):
        tail = sites[place] & _TAIL
        key = sites[place] & ~_FLAGS
        if data[at] not in (_CALL, _JMP):
            continue  # a conditional jump: it jumps to the trampoline for good
        if key not in functions:
            functions[key] = code.read_word(key_of(key))
        function = functions[key]
        if function and function == zero and not tail:
            new = _RETURN_ZERO_5_12 if old else _RETURN_ZERO
        elif function and function == warn and not tail:
            new = _WARN
        elif function:
            new = branch(_JMP if tail else _CALL, place, function)
        else:
            new = _RET if tail else nop
        data[at : at + 5] = new
