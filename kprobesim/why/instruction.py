"""What an instruction does to values: where it puts what, and where the CPU goes then.

Only as much as it takes to follow a value back: a copy is known as a copy, a constant as one, a
choice by flags as one; all else is a result of what the instruction reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from kprobesim.hexrepr import HexRepr

__all__ = [
    "Constant",
    "Flow",
    "Insn",
    "Kind",
    "Memory",
    "Move",
    "Place",
    "Register",
    "Target",
    "make_insn",
    "operand_texts",
]


class Kind(Enum):
    """What a value has to do with its sources."""

    COPY = "copy"
    """It is its source, perhaps cut short or extended."""
    CONSTANT = "constant"
    """The instruction makes it of nothing."""
    SELECT = "select"
    """One of two sources, as the flags say."""
    FLAGS = "flags"
    """It is made of the flags alone, as SETcc's is."""
    RESULT = "result"
    """It is computed."""


class Flow(Enum):
    """Where the CPU goes after an instruction."""

    NEXT = "next"
    JUMP = "jump"
    BRANCH = "branch"
    """Conditional."""
    INDIRECT = "indirect"
    """A jump to where a register or memory says."""
    CALL = "call"
    RETURN = "return"
    BACK = "back"
    """From an exception: IRET, ERET."""
    TRAP = "trap"
    """UD2 or BRK."""


@dataclass(frozen=True, slots=True)
class Register:
    """``size`` bytes of a register in the instruction set's own numbering."""

    number: int
    size: int
    shift: int = 0
    """Bits below them: 8 for AH."""


@dataclass(frozen=True, slots=True)
class Memory:
    """``size`` bytes at ``base + index * scale + displacement``."""

    base: int | None
    index: int | None
    scale: int
    displacement: int
    size: int
    segment: bool = False
    """Whether they are per CPU, as GS says."""
    index_size: int = 8
    """Bytes of the index that count; 4 and signed for SXTW."""
    index_signed: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Constant(HexRepr):
    """A number in the instruction."""

    value: int


Target: TypeAlias = "Register | Memory"
Place: TypeAlias = "Register | Memory | Constant"


@dataclass(frozen=True, slots=True)
class Move:
    """A value comes to ``target``.

    ``sources`` of a SELECT are two: that which is taken where the condition holds, and the other.
    ``change`` is what is done to the second one: "" or "increment", "invert", "negate".
    """

    target: Target
    kind: Kind
    sources: tuple[Place, ...] = ()
    change: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Insn(HexRepr):
    """One decoded instruction."""

    address: int
    size: int
    text: str
    mnemonic: str
    moves: tuple[Move, ...] = ()
    flow: Flow = Flow.NEXT
    goes_to: int | None = None
    """Where a direct jump, branch or call goes."""
    jumps_by: Place | None = None
    """What an indirect jump or call reads."""
    sets_flags: bool = False
    reads_flags: bool = False
    compared: tuple[Place, ...] = ()
    """What is compared where flags are set, or what CBZ and its like look at."""
    compared_names: tuple[str, ...] = ()
    """Each of them as the instruction calls it."""
    condition: str = ""
    """Of a branch or a choice: "e", "ne", "hi" and so on; "" where it reads no flags."""
    stack_change: int | None = 0
    """What it adds to the stack pointer; ``None`` where that is not in the instruction."""

    @property
    def end(self) -> int:
        """Where the next one lies."""
        return self.address + self.size


def make_insn(
    insn: Any,
    mnemonic: str,
    *,
    moves: Sequence[Move],
    flow: tuple[Flow, int | None, Place | None],
    sets_flags: bool,
    reads_flags: bool,
    compared: Sequence[tuple[str, Place]],
    condition: str,
    stack_change: int | None,
) -> Insn:
    """An instruction of either architecture.

    Args:
        insn: capstone's, for its place and its text.
        mnemonic: Without prefixes.
        moves: See :class:`Insn`, as for the following ones.
        flow: With where it goes to, and what it jumps by.
        sets_flags: See there.
        reads_flags: See there.
        compared: What is compared, each with what the instruction calls it.
        condition: See there.
        stack_change: See there.
    """
    where, goes_to, jumps_by = flow
    return Insn(
        insn.address,
        insn.size,
        f"{insn.mnemonic} {insn.op_str}".rstrip(),
        mnemonic,
        moves=tuple(moves),
        flow=where,
        goes_to=goes_to,
        jumps_by=jumps_by,
        sets_flags=sets_flags,
        reads_flags=reads_flags,
        compared=tuple(place for _, place in compared),
        compared_names=tuple(name for name, _ in compared),
        condition=condition,
        stack_change=stack_change,
    )


def operand_texts(operands: str) -> list[str]:
    """The operands of an instruction, each as it is written: ``eax``, ``[x0, #8]``."""
    found, depth = [""], 0
    for character in operands:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return [text.strip() for text in found]
