"""Whether a breakpoint may become a jump to a detour buffer, and what would be copied there.

arch/x86/kernel/kprobes/opt.c (6.1): can_optimize() looks at the whole function, because nothing may
branch into the five bytes of the jump; copy_optimized_instructions() at those that it overwrites.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from kprobesim.arch.x86_64.boost import can_boost
from kprobesim.arch.x86_64.boundary import Read, read_insn
from kprobesim.arch.x86_64.constants import INT3, JMP32_SIZE
from kprobesim.arch.x86_64.insn import HEAD, Insn, Undecodable, decode, length, length_by_head
from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["Branches", "branches", "copied_size"]

_PREFIXES = frozenset([*range(0x40, 0x50), *b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"])
_RELATIVE = frozenset([*range(0x70, 0x80), *range(0xE0, 0xE4), 0xE9, 0xEB])
#: First bytes of what may be a branch to the kernel, also behind prefixes; C4, C5 and 62 are those
#: of vector instructions, whose opcode it takes for a branch's.
_SUSPECTS = _RELATIVE | {0xEA, 0xFF, 0xC4, 0xC5, 0x62} | _PREFIXES
_ESCAPE = 0x0F
_CALL, _CALL_SIZE = 0xE8, 5
#: Lengths of instructions that cannot be branches, by their first bytes: most of a kernel's text,
#: through which each function is walked that may be probed.
_HARMLESS: dict[bytes, int] = {}
_MOST_HEADS = 1 << 16


@dataclass(frozen=True, repr=False)
class Branches(HexRepr):
    """What a function's branches forbid: all optimisation, or that around their ``targets``.

    ``end`` is the first address behind the function.
    """

    end: int
    forbidding: bool
    targets: tuple[int, ...]

    def allow_jump(self, address: int) -> bool:
        """Whether a jump at ``address`` hides no instruction that something branches to."""
        if self.forbidding or address + JMP32_SIZE > self.end:
            return False
        return not self.lead_into(address + 1, address + JMP32_SIZE)

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
    size = len(code)
    harmless = _HARMLESS
    try:
        while at < size:
            if code[at] == _CALL:
                at += _CALL_SIZE
                continue
            head = code[at : at + HEAD]
            step = harmless.get(head)
            if step is None:
                step = _remembered(head)
            if step:
                at += step
                continue
            if not _may_branch(head):
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
    return Branches(end, at > size, () if at > size else tuple(sorted(targets)))


def _remembered(head: bytes) -> int:
    """The length of what starts so and is no branch; 0 for others, or if more bytes decide it."""
    if len(_HARMLESS) >= _MOST_HEADS:
        _HARMLESS.clear()
    step = _HARMLESS[head] = 0 if _may_branch(head) else length_by_head(head)
    return step


def _may_branch(head: bytes) -> bool:
    """Whether an instruction that starts so may be a branch; nothing is decoded for that."""
    at = head[0] in _PREFIXES and len(head) > 1
    first = head[at]
    if first == _ESCAPE:
        return len(head) < at + 2 or head[at + 1] & 0xF0 == 0x80
    return first in _SUSPECTS


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


def copied_size(
    read: Read,
    address: int,
    *,
    has_exception_entry: Callable[[int], bool],
    reserved: Callable[[int, int], bool],
    group_boost: bool = True,
) -> int:
    """How many bytes would be copied to the detour buffer: whole instructions, at least 5 bytes.

    0 if they must not be. ``reserved(start, end)``: the kernel patches some byte there itself.
    ``group_boost``: see :func:`~kprobesim.arch.x86_64.boost.can_boost`.
    """
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
    return 0 if reserved(address, address + size) else size


def _may_be_copied(insn: Insn) -> bool:
    """__copy_instruction() refuses what a hypervisor emulates, INT3, and loads of SS."""
    opcode = insn.opcode[0]
    loads_ss = opcode == 0x17 or (opcode == 0x8E and insn.reg == 2)
    return not (insn.emulate_prefix or opcode == INT3 or loads_ss)
