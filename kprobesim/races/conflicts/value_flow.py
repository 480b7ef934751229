"""What became of a value that a CPU has loaded, when it stores: followed along what it executed.

Across calls and through memory, where :meth:`.AccessKinds.update` only knows the code of one
function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kprobesim.races.conflicts.access_kinds import BITS, Update
from kprobesim.why.decode import Code
from kprobesim.why.instruction import Insn, Kind, Memory, Move, Register

__all__ = ["Touch", "follow"]

Touch = tuple[int, int, bool]
"""What an instruction accesses: physical address, bytes, whether it stores."""
_STRONGEST = (Update.NONE, Update.BITS, Update.NUMBER)


def follow(path: Sequence[int], touched: Mapping[int, Sequence[Touch]], code: Code) -> Update:
    """What became of the value that the first instruction loads in what the last one stores.

    Args:
        path: The addresses of the instructions that ran, from the load to the store.
        touched: What each accesses, by its place in ``path``.
        code: The guest's instructions.
    """
    registers: dict[int, Update] = {}
    memory: dict[int, Update] = {}  # by byte
    for at, pc in enumerate(path):
        insn = code.at(pc)
        if insn is None:
            return Update.NONE
        touches = touched.get(at, ())
        for move in insn.moves:
            made = _made_of(move, insn, registers, memory, touches)
            if at == 0 and any(isinstance(source, Memory) for source in move.sources):
                made = _changed(Update.BITS, move, insn)
            if isinstance(move.target, Register):
                registers[move.target.number] = made
                continue
            for physical, size, is_store in touches:
                if is_store:
                    memory.update(dict.fromkeys(range(physical, physical + size), made))
            if at == len(path) - 1:
                return made
    return Update.NONE


def _made_of(
    move: Move,
    insn: Insn,
    registers: Mapping[int, Update],
    memory: Mapping[int, Update],
    touches: Sequence[Touch],
) -> Update:
    found = Update.NONE
    for source in move.sources:
        if isinstance(source, Register):
            found = _stronger(found, registers.get(source.number, Update.NONE))
        elif isinstance(source, Memory):
            for physical, size, is_store in touches:
                if not is_store:
                    for byte in range(physical, physical + size):
                        found = _stronger(found, memory.get(byte, Update.NONE))
    return Update.NONE if found is Update.NONE else _changed(found, move, insn)


def _changed(value: Update, move: Move, insn: Insn) -> Update:
    """What the value is once an instruction has done to it what it does."""
    counts = move.kind is not Kind.COPY and insn.mnemonic not in BITS
    return Update.NUMBER if counts else value


def _stronger(one: Update, other: Update) -> Update:
    return max(one, other, key=_STRONGEST.index)
