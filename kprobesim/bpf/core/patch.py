"""Writing a relocation's value into its instruction, or what makes the verifier stop there.

``bpf_core_patch_insn()`` of libbpf's relo_core.c. Poison is a call of helper 195896080, 0xbad2310.
"""

from __future__ import annotations

from kprobesim.bpf.core.budget import CannotRelocate
from kprobesim.bpf.core.values import Value, adjusts_safely
from kprobesim.bpf.instructions import (
    ALU,
    ALU64,
    CALL,
    LDX,
    SIZE_CODES,
    ST,
    STX,
    Instruction,
)
from kprobesim.sizes import MASK32, MASK64

__all__ = ["POISON", "patch", "poison"]

POISON = Instruction(CALL, 0, 0, 0, 195896080)
_LARGEST_OFFSET = 0x7FFF


def poison(code: list[Instruction], at: int) -> None:
    """Make the instruction ``at`` one that no kernel accepts."""
    if code[at].is_wide and at + 1 < len(code):
        code[at + 1] = POISON
    code[at] = POISON


def patch(code: list[Instruction], at: int, local: Value, target: Value) -> bool:
    """Write the kernel's value where the object's own is.

    Args:
        code: The instructions of a function; changed.
        at: The number of the one in question.
        local: What the compiler wrote.
        target: What is right in the kernel.

    Returns:
        False if it had to be poisoned: a load that would read a number wrongly.

    Raises:
        CannotRelocate: It is not an instruction that can hold such a value.
    """
    instruction = code[at]
    kind = instruction.kind
    number = target.number
    if kind in (ALU, ALU64):
        if instruction.code & 8:
            raise CannotRelocate("an operation without a constant cannot be relocated")
        _check(local, instruction.immediate & MASK64)
        code[at] = instruction._replace(immediate=_signed(number, 32))
        return True
    if kind in (LDX, ST, STX):
        _check(local, instruction.offset & MASK64)
        if number > _LARGEST_OFFSET:
            raise CannotRelocate(f"the offset {number} does not fit into a load or store")
        if not adjusts_safely(local, target):
            poison(code, at)
            return False
        code[at] = _resized(instruction._replace(offset=number), local.size, target.size)
        return True
    if instruction.is_wide and at + 1 < len(code):
        second = code[at + 1]
        if not any((instruction.source, instruction.offset, *second[:4])):
            held = instruction.immediate & MASK32 | (second.immediate & MASK32) << 32
            _check(local, held)
            code[at] = instruction._replace(immediate=_signed(number, 32))
            code[at + 1] = second._replace(immediate=_signed(number >> 32, 32))
            return True
    raise CannotRelocate(f"an instruction of code {instruction.code:#x} cannot be relocated")


def _check(local: Value, held: int) -> None:
    if local.validate and held != local.number:
        raise CannotRelocate(
            f"the instruction holds {held} and not {local.number}: the object is damaged"
        )


def _resized(instruction: Instruction, old: int, new: int) -> Instruction:
    if old == new:
        return instruction
    if instruction.size != old:
        raise CannotRelocate(f"it moves {instruction.size} bytes of a field of {old}")
    if new not in SIZE_CODES:
        raise CannotRelocate(f"no load moves the {new} bytes of the kernel's field")
    return instruction._replace(code=instruction.code & 0xE7 | SIZE_CODES[new])


def _signed(number: int, bits: int) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> bits - 1 else number
