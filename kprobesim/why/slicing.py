"""Where a value came from: back through copies, stacks and calls to what made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kprobesim.why.instruction import Constant, Insn, Kind, Memory, Move, Place, Register
from kprobesim.why.recording import Recording

__all__ = ["Chain", "Location", "Step", "trace_back"]

Location: TypeAlias = "tuple[str, int, int]"
"""("register", number, bytes) or ("memory", address, bytes)."""
_MOST_STEPS = 10_000
_FEW = 16
_ONE = Constant(1)
_FIRST_BITS = frozenset({"and", "ands", "ubfx", "sbfx"})
_SHIFTS = frozenset({"shr", "lsr"})


@dataclass(frozen=True, slots=True)
class Step:
    """Instruction ``number`` took the value from ``source`` to ``target``.

    ``source`` is ``None`` where the value began. ``chosen`` and ``other`` are what a choice was
    between, if they differed.
    """

    number: int
    target: Location
    source: Location | None
    kind: Kind
    chosen: int | None = None
    other: int | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The way of a value, the last step first."""

    steps: tuple[Step, ...]
    origin: int
    """The number of the instruction that made it; -1: it was there when the function began."""
    how: str
    """"constant", "flags", "result", "input" (an argument, or memory from before), "host" (an
    exception that was mended, or a device)."""
    last: Location
    """Where it was made, or first was."""

    def location(self, number: int) -> Location | None:
        """Where the value is before instruction ``number``; ``None``: it is not made yet."""
        found: Location | None = self.steps[0].target if self.steps else self.last
        for step in self.steps:
            if step.number < number:
                return found
            found = step.source
        return self.last if self.origin < 0 else None


def trace_back(recording: Recording, number: int, location: Location) -> Chain:
    """The way of what is in ``location`` before instruction ``number``."""
    steps: list[Step] = []
    while len(steps) < _MOST_STEPS:
        found = _last_write(recording, number, location)
        if found is None:
            return Chain(tuple(steps), -1, "input", location)
        at, move = found
        if move is None:
            steps.append(Step(at, location, None, Kind.RESULT))
            return Chain(tuple(steps), at, "host", location)
        step = _step(recording, at, move, location)
        steps.append(step)
        if step.source is None:
            how = {Kind.CONSTANT: "constant", Kind.FLAGS: "flags"}.get(step.kind, "result")
            return Chain(tuple(steps), at, how, location)
        number, location = at, step.source
    return Chain(tuple(steps), number, "result", location)


def _last_write(
    recording: Recording, number: int, location: Location
) -> tuple[int, Move | None] | None:
    """The last instruction before ``number`` that wrote there; no move: nobody knows how."""
    what, place, size = location
    if what == "memory":
        written = recording.last_write(number, place, size)
        if written is None:
            return None
        insn = recording.insn(written[0])
        assert insn is not None
        for move in insn.moves:
            target = move.target
            if isinstance(target, Memory):
                start = recording.where(written[0], target)
                if start < place + size and place < start + target.size:
                    return written[0], move
        return None
    mask = (1 << 8 * size) - 1
    value = recording.register(number, place) & mask
    for at in range(number - 1, -1, -1):
        insn = recording.insn(at)
        found = None if insn is None else _register_move(insn, place)
        if found is not None:
            return at, found
        before = recording.register(at, place) & mask
        if before != value and place != recording.sp_number:
            return at, None
    return None


def _register_move(insn: Insn, register: int) -> Move | None:
    for move in insn.moves:
        if isinstance(move.target, Register) and move.target.number == register:
            return move
    return None


def _located(recording: Recording, number: int, place: Place) -> Location | None:
    if isinstance(place, Constant):
        return None
    if isinstance(place, Register):
        return "register", place.number, place.size
    return "memory", recording.where(number, place), place.size


def _step(recording: Recording, at: int, move: Move, location: Location) -> Step:
    if move.kind is Kind.COPY and len(move.sources) == 1:
        return Step(at, location, _located(recording, at, move.sources[0]), Kind.COPY)
    if move.kind is Kind.SELECT and len(move.sources) == 2:
        return _selected(recording, at, move, location)
    if move.kind is Kind.RESULT:
        if _is_bit(recording.insn(at), move):
            return Step(at, location, None, Kind.FLAGS)
        return Step(at, location, _followed(recording, at, move), Kind.RESULT)
    return Step(at, location, None, move.kind)


def _selected(recording: Recording, at: int, move: Move, location: Location) -> Step:
    size = move.target.size
    mask = (1 << 8 * size) - 1
    first, second = (recording.value(at, place) for place in move.sources)
    after = _value_after(recording, at, move)
    changed = _change(move.change, second)
    known = [None if value is None else value & mask for value in (first, changed)]
    if move.sources[0] == move.sources[1]:  # CINC and its like: changed where the condition holds
        known[0], known[1] = known[1], known[0]
    source = move.sources[0] if after == known[0] else move.sources[1]
    if known[0] == known[1] or None in known or after not in known:
        return Step(at, location, _located(recording, at, source), Kind.SELECT)
    other = known[1] if after == known[0] else known[0]
    plain = not (move.change and source == move.sources[1])
    where = _located(recording, at, source) if plain else None
    return Step(at, location, where, Kind.SELECT, after, other)


def _value_after(recording: Recording, at: int, move: Move) -> int | None:
    target = move.target
    if isinstance(target, Register):
        return recording.value(at + 1, target)
    return None


def _change(change: str, value: int | None) -> int | None:
    if value is None or not change:
        return value
    return {"increment": value + 1, "invert": ~value, "negate": -value}[change]


def _followed(recording: Recording, at: int, move: Move) -> Location | None:
    """The source that a computed value is still known by: what flags made, or the only one."""
    sources = [p for p in move.sources if not isinstance(p, Constant)]
    registers = [p for p in sources if isinstance(p, Register)]
    for place in registers:
        if _made_of_flags(recording, at, place, 4):
            return _located(recording, at, place)
    insn = recording.insn(at)
    if insn is not None and len(sources) == 1:
        unchanged = recording.value(at, sources[0]) == _value_after(recording, at, move)
        if insn.mnemonic in ("neg", "not", "mvn", "negs") or unchanged:
            return _located(recording, at, sources[0])
    return None


def _is_bit(insn: Insn | None, move: Move) -> bool:
    """Whether it leaves a single bit of its source: ``x & 1``, of which 0 and -1 are made, too."""
    if insn is None or move.kind is not Kind.RESULT or len(move.sources) < 2:
        return False
    last = move.sources[-1]
    if insn.mnemonic in _FIRST_BITS:
        return last == _ONE
    return insn.mnemonic in _SHIFTS and last == Constant(8 * move.target.size - 1)


def _made_of_flags(recording: Recording, number: int, place: Register, depth: int) -> bool:
    """Whether a few instructions before ``number`` made it of the flags and constants."""
    found = _last_write(recording, number, ("register", place.number, place.size))
    at, move = (-1, None) if found is None else found
    if move is None or number - at > _FEW:
        return False
    if move.kind is Kind.FLAGS or _is_bit(recording.insn(at), move):
        return True
    if depth == 0 or move.kind not in (Kind.COPY, Kind.RESULT):
        return False
    registers = [p for p in move.sources if isinstance(p, Register)]
    return any(_made_of_flags(recording, at, each, depth - 1) for each in registers)
