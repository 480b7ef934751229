"""Running a function again, once another way: what if that branch had gone there?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from kprobesim.hexrepr import HexRepr
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.why.answer import WhichCall
from kprobesim.why.decisions import Decision
from kprobesim.why.instruction import Register
from kprobesim.why.recording import Recording

__all__ = ["Flip", "Outcome", "Runs", "flip_of", "flipping"]

_AFTER_SELECT = frozenset({"choice", "flags"})


@dataclass(frozen=True, repr=False)
class Outcome(HexRepr):
    """How a run ended.

    ``noted`` is the recording of it, ``end`` the number of the instruction that it returned to;
    ``returned`` what it returned. ``text`` says what happened instead where it did not return.
    """

    noted: EveryInstruction
    end: int | None
    returned: int | None
    text: str = ""


@dataclass(frozen=True, repr=False)
class Flip(HexRepr):
    """Another way, once.

    Attributes:
        address: Of an instruction.
        occurrence: Its how-manieth execution goes another way, counted from 1.
        goes_to: Where the CPU goes instead of executing it.
        register: The register that it sets instead, and its value.
    """

    address: int
    occurrence: int
    goes_to: int
    register: tuple[int, int] | None = None


class Runs(Protocol):
    """A function that can be run again and again from one state.

    Attributes:
        function: What people call it.
    """

    function: str

    @property
    def which(self) -> WhichCall | None:
        """Which of a guest's calls it is; ``None``: it is made to be explained."""

    def run(self, flip: Flip | None, most: int) -> Outcome:
        """Run it, recording up to ``most`` instructions; the guest is back at its start then."""

    def read(self, address: int, size: int) -> int | None:
        """A number in memory as the function finds it."""

    def close(self) -> None:
        """There will be no more runs."""


def flip_of(recording: Recording, decision: Decision) -> Flip | None:
    """What makes ``decision`` another one; ``None`` where it has no other side that is known."""
    insn, number = decision.insn, decision.number
    occurrence = recording.occurrence(number)
    if decision.kind in ("branch", "fault") and decision.other is not None:
        return Flip(insn.address, occurrence, decision.other)
    if decision.kind not in _AFTER_SELECT:
        return None
    target = next((m.target for m in insn.moves if isinstance(m.target, Register)), None)
    if target is None:
        return None
    mask = (1 << 8 * target.size) - 1
    other = decision.other
    if other is None:  # made of flags alone: 0 and 1, or 0 and -1
        value = recording.value(number + 1, target)
        other = (value or 0) ^ (1 if value in (0, 1) and insn.mnemonic[:2] != "sb" else mask)
        if insn.mnemonic in ("csetm", "sbb"):
            other = mask if value == 0 else 0
    whole = recording.register(number, target.number)
    if target.size < 4:
        low = mask << target.shift
        other = whole & ~low | (other & mask) << target.shift
    else:
        other &= mask
    return Flip(insn.address, occurrence, insn.end, (target.number, other))


@contextmanager
def flipping(machine: System, flip: Flip | None, noted: EveryInstruction) -> Iterator[None]:
    """In the block the guest goes that way once; what is not ``noted`` does not count."""
    if flip is None:
        yield
        return
    seen = 0
    write_pc: Callable[[int], object] = machine.engine.write_pc

    def arrived(_address: int) -> bool:
        nonlocal seen
        if not noted.notes_now:
            return False
        seen += 1
        if seen != flip.occurrence:
            return False
        if flip.register is not None:
            number, value = flip.register
            machine.words[number] = value
        write_pc(flip.goes_to)
        return True

    watch = machine.code_watch.watch(flip.address, arrived)
    try:
        yield
    finally:
        machine.code_watch.unwatch(watch)
