"""May this word be probed, and how: from a slot or simulated.

Follows the decisions of arch/arm64/kernel/probes/decode-insn.c (6.1 to 6.16).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable

from kprobesim.arch.arm64 import insn as fields
from kprobesim.arch.arm64.insn import PATTERNS, matches, name_of
from kprobesim.arch.arm64.options import DEFAULT, Options

__all__ = [
    "EXCLUSIVE_WINDOW",
    "Insn",
    "Read",
    "check_exclusive_sequence",
    "classify",
    "emulate_kind",
    "needs_slot",
    "why_rejected",
]

#: ``read(address, size)`` gives exactly ``size`` bytes of guest memory.
Read = Callable[[int, int], bytes]

#: How far back, in bytes, an open exclusive sequence is looked for.
EXCLUSIVE_WINDOW = 128


class Insn(enum.Enum):
    """The kernel's three answers about a word."""

    REJECTED = "rejected"
    GOOD = "slot"
    GOOD_NO_SLOT = "simulated"


#: Class of a word -> who simulates it (the kernel's ``simulate_*`` functions, by their names).
_SIMULATED = {
    "ldr_literal": "ldr_literal",
    "ldrsw_literal": "ldrsw_literal",
    "b_cond": "b_cond",
    "cbz": "cbz_cbnz",
    "cbnz": "cbz_cbnz",
    "tbz": "tbz_tbnz",
    "tbnz": "tbz_tbnz",
    "adr": "adr_adrp",
    "adrp": "adr_adrp",
    "b": "b_bl",
    "bl": "b_bl",
    "br": "br_blr_ret",
    "blr": "br_blr_ret",
    "ret": "br_blr_ret",
}

#: What the kernel would run from the slot although it depends on its own address.
_MISSED_BY_KERNEL = {"ldr_simd_literal": "ldr_simd_literal", "bc_cond": "b_cond"}

#: Refused classes and what to call them.
_REJECTED = {
    "br_auth": "a branch that authenticates its target",
    "blr_auth": "a call that authenticates its target",
    "ret_auth": "a return that authenticates its target",
    "eret": "an exception return",
    "eret_auth": "an exception return",
    "exception": "an instruction that raises an exception",
    "msr_imm": "a write to PSTATE",
    "msr_reg": "a write to a system register",
    "mrs": "a read of DAIF, which is masked while an instruction is stepped",
    "hint": "a hint that waits, traps or depends on where it runs",
    "prfm_literal": "a prefetch relative to its own address",
    "exclusive": "an exclusive load or store, which loses its reservation when stepped",
    "mops": "a memory copy or set, whose three instructions must run together",
}
_NOT_STEPPABLE_SYSTEM = (
    "br_auth",
    "blr_auth",
    "ret_auth",
    "eret",
    "eret_auth",
    "exception",
    "msr_imm",
    "msr_reg",
)
_NOT_STEPPABLE_OTHER = ("prfm_literal", "exclusive")


def emulate_kind(word: int, options: Options = DEFAULT) -> str | None:
    """Who simulates ``word``, or ``None`` when it is not simulated."""
    if word == fields.NOP:
        return "nop" if options.simulate_nop else None
    name = name_of(word, _SIMULATED)
    if name is not None:
        return _SIMULATED[name]
    if not options.strict:
        name = name_of(word, _MISSED_BY_KERNEL)
        # opc 3 of the SIMD literal loads is unallocated: the CPU refuses it from the slot.
        if name == "bc_cond" or (name == "ldr_simd_literal" and word >> 30 != 3):
            return _MISSED_BY_KERNEL[name]
    return None


def _rejected_class(word: int, options: Options) -> str | None:
    if not matches(word, "branch_exception_system"):
        if options.refuse_mops and matches(word, "mops"):
            return "mops"
        return name_of(word, _NOT_STEPPABLE_OTHER)
    if matches(word, "mrs"):
        return "mrs" if fields.system_register(word) == fields.MRS_DAIF else None
    if matches(word, "hint"):
        hint = fields.hint(word)
        if options.refuse_unknown_hints:
            return None if hint in fields.STEPPABLE_HINTS else "hint"
        return "hint" if hint in fields.WAITING_HINTS else None
    return name_of(word, _NOT_STEPPABLE_SYSTEM)


def classify(word: int, options: Options = DEFAULT) -> Insn:
    """The kernel's answer about the word alone, whatever stands around it."""
    if emulate_kind(word, options) is not None:
        return Insn.GOOD_NO_SLOT
    return Insn.GOOD if _rejected_class(word, options) is None else Insn.REJECTED


def needs_slot(word: int, options: Options = DEFAULT) -> bool:
    """Whether a probe on ``word`` runs a copy of it, so that a slot must be at hand."""
    return classify(word, options) is Insn.GOOD


def why_rejected(word: int, options: Options = DEFAULT) -> str | None:
    """What makes ``word`` impossible to probe, in words; ``None`` when it can be probed."""
    if emulate_kind(word, options) is not None:
        return None
    name = _rejected_class(word, options)
    return None if name is None else _REJECTED[name]


def check_exclusive_sequence(
    read: Read, symbol_start: int | None, address: int, options: Options = DEFAULT
) -> int | None:
    """The address of a load-exclusive whose sequence is still open at ``address``, or ``None``.

    Looks back over at most 32 words, not past the start of the symbol, and stops at the first
    exclusive of either kind: a breakpoint inside such a sequence would clear the reservation and
    the sequence would never succeed. ``read`` gives live memory, as the kernel looks at it: another
    probe's breakpoint hides the word under it. Without a symbol nothing is looked at.
    """
    if symbol_start is None:
        return None
    size = min(address - symbol_start, EXCLUSIVE_WINDOW) & ~3
    if size <= 0:
        return None
    start = address - size
    suffix = "" if options.narrow_exclusives else "_wide"
    load, store = PATTERNS["load_exclusive" + suffix], PATTERNS["store_exclusive" + suffix]
    words = struct.unpack(f"<{size // 4}I", read(start, size))
    mask = load.mask  # the same as the store's
    for index in reversed(range(len(words))):
        masked = words[index] & mask
        if masked == store.value:
            return None
        if masked == load.value:
            return start + index * 4
    return None
