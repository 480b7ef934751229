"""Whether a breakpoint may become a jump to a detour buffer, and what would be copied there.

arch/x86/kernel/kprobes/opt.c (6.1): can_optimize() looks at the whole function, because nothing may
branch into the five bytes of the jump; copy_optimized_instructions() at those that it overwrites.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from kprobesim.arch.x86_64.boost import can_boost
from kprobesim.arch.x86_64.boundary import Read, read_insn
from kprobesim.arch.x86_64.constants import INT3, JMP32_SIZE
from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode, length
from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr

__all__ = ["Branches", "branches", "optimized_size"]

_PREFIXES = frozenset([*range(0x40, 0x50), *b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"])
_RELATIVE = frozenset([*range(0x70, 0x80), *range(0xE0, 0xE4), 0xE9, 0xEB])
#: First bytes of what may be a branch to the kernel, also behind prefixes; C4, C5 and 62 are those
#: of vector instructions, whose opcode it takes for a branch's.
_SUSPECTS = _RELATIVE | {0x0F, 0xEA, 0xFF, 0xC4, 0xC5, 0x62}


@dataclass(frozen=True, repr=False)
class Branches(HexRepr):
    """What a function's branches forbid: all optimisation, or that around their ``targets``.

    ``end`` is the first address behind the function.
    """

    end: int
    forbidding: bool
    targets: tuple[int, ...]

    def lead_into(self, low: int, high: int) -> bool:
        """Whether one ends in ``[low, high]``."""
        at = bisect_left(self.targets, low)
        return at < len(self.targets) and self.targets[at] <= high


def branches(code: bytes, start: int, thunks: tuple[int, int] | None) -> Branches:
    """The branches in ``code``, a whole function at ``start``.

    ``thunks`` is where a jump counts as an indirect one, of which nobody knows where it leads:
    ``[__indirect_thunk_start, __indirect_thunk_end]``. Kernels that have no such symbols (6.6)
    trust that, built with retpolines, they have no jump tables; ``None`` is for them.
    """
    end = start + len(code)
    targets = []
    at = 0
    try:
        while at < len(code):
            first = code[at]
            if first in _PREFIXES and at + 1 < len(code):
                first = code[at + 1]
            if first not in _SUSPECTS and first not in _PREFIXES:
                at += length(code, at)
                continue
            insn = decode(code, at)
            at += insn.length
            target = start + at + insn.imm
            if _is_relative(insn):
                targets.append(target)
            elif not _is_indirect(insn):
                continue
            elif thunks is not None:
                return Branches(end, True, ())
            if thunks is not None and _is_relative(insn) and thunks[0] <= target <= thunks[1]:
                return Branches(end, True, ())
    except Undecodable:
        return Branches(end, True, ())
    return Branches(end, False, tuple(sorted(targets)))


def _is_relative(insn: Insn) -> bool:
    """insn_jump_into_range(): calls are none.

    An opcode 0F alone is that of an AVX instruction (VPALIGNR), whose map VEX says.
    """
    opcode = insn.opcode
    if opcode[0] in _RELATIVE:
        return True
    return len(opcode) > 1 and opcode[0] == 0x0F and opcode[1] & 0xF0 == 0x80


def _is_indirect(insn: Insn) -> bool:
    opcode = insn.opcode[0]
    return opcode == 0xEA or (opcode == 0xFF and insn.reg in (4, 5))


def optimized_size(
    read: Read,
    address: int,
    function: Branches,
    *,
    has_exception_entry: Callable[[int], bool],
    reserved: Callable[[int], bool],
    group_boost: bool = True,
) -> int:
    """How many bytes would be copied to the detour buffer: whole instructions, at least 5 bytes.

    0 if the probe stays a breakpoint. ``reserved(address)``: the kernel patches that byte itself.
    ``group_boost``: see :func:`~kprobesim.arch.x86_64.boost.can_boost`.
    """
    if function.forbidding or address + JMP32_SIZE > function.end:
        return 0
    if function.lead_into(address + 1, address + JMP32_SIZE):
        return 0
    size = 0
    while size < JMP32_SIZE:
        at = address + size
        try:
            insn = read_insn(read, at)
        except (Undecodable, GuestMemoryError):
            return 0
        boostable = can_boost(
            insn, has_exception_entry=has_exception_entry(at), group_boost=group_boost
        )
        if not boostable or not _may_be_copied(insn):
            return 0
        size += insn.length
    if any(reserved(at) for at in range(address, address + size)):
        return 0
    return size


def _may_be_copied(insn: Insn) -> bool:
    """__copy_instruction() refuses what a hypervisor emulates, INT3, and loads of SS."""
    opcode = insn.opcode[0]
    loads_ss = opcode == 0x17 or (opcode == 0x8E and insn.reg == 2)
    return not (insn.emulate_prefix or opcode == INT3 or loads_ss)
