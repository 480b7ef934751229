"""What a decision compared, and what that says."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.arch.architecture import architecture
from kprobesim.hexrepr import HexRepr
from kprobesim.why.conditions import RELATIONS, opposite, plain
from kprobesim.why.decisions import Decision
from kprobesim.why.frames import Frame, Frames
from kprobesim.why.instruction import Constant, Memory, Place, Register, operand_texts
from kprobesim.why.recording import PER_CPU, Recording
from kprobesim.why.slicing import Location, trace_back

__all__ = ["Compared", "compared_by", "says"]

_SIGNED = frozenset({"l", "ge", "le", "g", "s", "ns"})
_FEW = 12
"""How far before a jump by a table its entry may be read."""
_OF_BITS = frozenset({"test", "tst", "and", "ands", "bt"})


@dataclass(frozen=True, slots=True, repr=False)
class Compared(HexRepr):
    """One value that a decision looked at.

    Attributes:
        name: The register, memory or number, as the instruction calls it.
        value: Unsigned; ``None`` if nobody knows it.
        size: Of it, in bytes.
        came_from: Where it came from: "returned by capable", "argument 2 of openat", "" if that is
            not known.
    """

    name: str
    value: int | None
    size: int
    came_from: str = ""

    @property
    def signed(self) -> int | None:
        """The value as a signed number."""
        if self.value is None:
            return None
        bits = 8 * self.size
        return self.value - (self.value >> bits - 1 << bits)

    @property
    def is_constant(self) -> bool:
        """Whether it is a number in the instruction."""
        return self.name.lstrip("-")[:1].isdigit()

    def __str__(self) -> str:
        text = self.name
        if self.value is not None and self.name != str(self.value):
            text += f" = {_number(self.value, self.size)}"
        return f"{text}, {self.came_from}" if self.came_from else text

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "size": self.size,
            "came_from": self.came_from or None,
        }


def _number(value: int, size: int) -> str:
    signed = value - (value >> 8 * size - 1 << 8 * size)
    if -4096 < signed < 0:
        return str(signed)
    return str(value) if value < 10 else f"{value:#x}"


def says(recording: Recording, decision: Decision) -> str:
    """The condition as it was: ``rv == 0`` in registers' names; "" where it has no words."""
    if decision.setter is None:
        return ""
    insn, setter = decision.insn, recording.insn(decision.setter)
    if setter is None or not setter.compared or decision.joined:
        return ""
    names = setter.compared_names
    if insn.mnemonic in ("cbz", "cbnz"):
        is_zero = (insn.mnemonic == "cbz") == decision.taken
        return f"{names[0]} {'==' if is_zero else '!='} 0"
    if insn.mnemonic in ("tbz", "tbnz"):
        is_set = (insn.mnemonic == "tbnz") == decision.taken
        return f"bit {names[1].lstrip('#')} of {names[0]} is {'set' if is_set else 'clear'}"
    condition = plain(insn.condition)
    if decision.kind == "branch" and not decision.taken:
        condition = opposite(condition)
    if decision.kind != "branch" or condition not in RELATIONS:
        return ""
    relation = RELATIONS[condition]
    if setter.mnemonic in _OF_BITS:
        left = names[0] if len(set(names)) == 1 else f"({names[0]} & {names[-1]})"
        return _against_zero(left, condition)
    if setter.mnemonic in ("cmp", "sub", "subs") and len(names) >= 2:
        if condition in ("s", "ns"):
            return f"{names[-2]} - {names[-1].lstrip('#')} {relation}"
        return f"{names[-2]} {relation} {names[-1].lstrip('#')}"
    if setter.mnemonic == "cmn" and len(names) == 2:
        return f"{names[0]} {relation} -{names[1].lstrip('#')}"
    return ""


def _against_zero(left: str, condition: str) -> str:
    relation = RELATIONS[condition]
    return f"{left} {relation}" if relation.endswith("0") else f"{left} {relation} 0"


def compared_by(recording: Recording, frames: Frames, decision: Decision) -> tuple[Compared, ...]:
    """What a decision looked at."""
    if decision.kind == "fault":
        return _accessed_by(recording, decision)
    if decision.setter is None:
        if decision.kind == "flags":
            return _bit_of(recording, frames, decision)
        return _indexed_by(recording, decision)
    found = []
    for number in (*decision.joined[::-1], decision.setter):
        setter = recording.insn(number)
        if setter is None:
            continue
        for name, place in zip(setter.compared_names, setter.compared, strict=True):
            found.append(_compared(recording, frames, decision.frame, number, name, place))
    return tuple(dict.fromkeys(found))


def _indexed_by(recording: Recording, decision: Decision) -> tuple[Compared, ...]:
    """The index of a table, from which an entry was taken here or a few instructions before."""
    left, seen = [decision.number], set[int]()
    while left:
        number = left.pop(0)
        insn = recording.insn(number)
        if insn is None or number in seen or number < decision.number - _FEW:
            continue
        seen.add(number)
        places = [insn.jumps_by, *(source for move in insn.moves for source in move.sources)]
        for place in places:
            if isinstance(place, Memory) and place.index is not None:
                index = recording.register(number, place.index)
                return (Compared("index", index & (1 << 8 * place.index_size) - 1, 8),)
            if isinstance(place, Register):
                chain = trace_back(recording, number, ("register", place.number, place.size))
                left += [step.number for step in chain.steps]
    return ()


def _bit_of(recording: Recording, frames: Frames, decision: Decision) -> tuple[Compared, ...]:
    """What a bit was taken from."""
    names = operand_texts(decision.insn.text.partition(" ")[2])[1:]
    sources = [source for move in decision.insn.moves for source in move.sources]
    return tuple(
        _compared(recording, frames, decision.frame, decision.number, name, place)
        for name, place in zip(names, sources, strict=False)
    )


def _accessed_by(recording: Recording, decision: Decision) -> tuple[Compared, ...]:
    """The address of an access that faulted."""
    moves = decision.insn.moves
    places = [place for move in moves for place in (*move.sources, move.target)]
    places += decision.insn.compared
    return tuple(
        Compared("address", recording.where(decision.number, place), 8)
        for place in dict.fromkeys(places)
        if isinstance(place, Memory) and not place.segment
    )


def _compared(
    recording: Recording, frames: Frames, frame: Frame, number: int, name: str, place: Place
) -> Compared:
    value = recording.value(number, place)
    if isinstance(place, Constant):
        return Compared(name.lstrip("#"), place.value, 8)
    return Compared(name, value, place.size, came_from(recording, frames, frame, number, place))


def came_from(recording: Recording, frames: Frames, frame: Frame, number: int, place: Place) -> str:
    """Where the value in ``place`` came from, seen from ``frame``."""
    location: Location
    if isinstance(place, Register):
        location = ("register", place.number, place.size)
    elif isinstance(place, Memory):
        location = ("memory", recording.where(number, place), place.size)
    else:
        return ""
    chain = trace_back(recording, number, location)
    if chain.origin >= 0:
        return _made_by(recording, frames, frame, chain.origin, chain.how)
    what, at, _ = chain.last
    if what == "register":
        arguments = architecture(recording.code.arch).abi
        numbers = arguments.numbers(arguments.arguments)
        if at in numbers:
            return f"argument {numbers.index(at) + 1} of {frames.all[0].function}"
        return ""
    if at >= PER_CPU:
        return "per CPU"
    return f"read from {frames.data_at(at)}"


def _made_by(recording: Recording, frames: Frames, frame: Frame, origin: int, how: str) -> str:
    """Which inner function made it."""
    inner: Frame | None = frames.of[origin]
    below = None
    while inner is not None and inner is not frame:
        if not inner.is_thunk:
            below = inner
        inner = inner.parent
    if inner is None or below is None or below.exception:
        return ""
    result = recording.result_number
    chain = trace_back(recording, below.exit + 1, ("register", result, 4))
    returned = chain.origin == origin
    return f"{'returned' if returned else 'made'} by {below.function}"
