"""``Step``: what one instruction that is no jump makes of what is known."""

from __future__ import annotations

from collections.abc import Mapping

from kprobesim.bpf.flow.arithmetic import ADD, MOVE, SUBTRACT, SWAP, calculate, sign_extended
from kprobesim.bpf.flow.reach import ContextRead, Place, Reached, World
from kprobesim.bpf.flow.state import State
from kprobesim.bpf.flow.values import (
    Address,
    Argument,
    Constant,
    Context,
    Setting,
    Stack,
    Value,
    moved,
)
from kprobesim.bpf.helpers import READS_MEMORY
from kprobesim.bpf.instructions import (
    ALU,
    ALU64,
    LDX,
    MODE_ATOMIC,
    MODE_MEMORY,
    ST,
    STX,
    Instruction,
)
from kprobesim.sizes import MASK32, MASK64, signed64
from kprobesim.types.model import Type

__all__ = ["Step"]

_FETCH, _COMPARE_AND_EXCHANGE = 0x01, 0xF1
_LEAST_ARGUMENT = 4  # bytes; what is read in smaller pieces is no pointer


class Step:
    """Carries instructions out on a :class:`State` and notes what they read of the context.

    ``fields`` has, for instructions with the offset of a member, the type whose member it is.
    """

    def __init__(self, world: World, fields: Mapping[Place, Type], reached: Reached) -> None:
        self._world = world
        self._fields = fields
        self._reached = reached

    def run(self, instruction: Instruction, place: Place, state: State) -> None:
        """Carry out a load, a store or an operation."""
        kind = instruction.kind
        registers = state.registers
        if kind in (ALU, ALU64):
            registers[instruction.destination] = self._operation(instruction, place, state)
        elif kind == LDX:
            registers[instruction.destination] = self._load(instruction, place, state)
        elif kind in (ST, STX):
            self._store(instruction, state)
        else:  # the loads of packets leave their value in r0
            registers[:6] = [None] * 6

    def reads_memory(self, helper: int, place: Place, state: State) -> None:
        """Note what a helper that copies memory reads of the context."""
        size, source = state.registers[2], state.registers[3]
        if helper in READS_MEMORY and isinstance(source, Context):
            length = size.number if isinstance(size, Constant) else 0
            self._note_read(source.offset, length, place)

    def _operation(self, instruction: Instruction, place: Place, state: State) -> Value:
        operation = instruction.code & 0xF0
        bits = 64 if instruction.kind == ALU64 else 32
        left = state.registers[instruction.destination]
        if instruction.code & 8:
            right = state.registers[instruction.source]
        else:
            number = instruction.immediate & MASK64
            right = Constant(number, self._fields.get(place))
        if operation == SWAP:
            return None
        if operation == MOVE and (bits == 64 or isinstance(right, Constant)):
            return self._moved(instruction, right, bits)
        if isinstance(left, Constant) and isinstance(right, Constant):
            if operation in (0x30, 0x90) and instruction.offset:  # with a sign
                return None
            result = calculate(operation, left.number, right.number, bits)
            return None if result is None else Constant(result)
        if bits == 64 and operation == ADD:
            if isinstance(left, Constant):
                left, right = right, left
            if isinstance(right, Constant):
                self._believe(left, right.field_of)
                return moved(left, signed64(right.number))
        if bits == 64 and operation == SUBTRACT and isinstance(right, Constant):
            return moved(left, -signed64(right.number))
        return None

    def _moved(self, instruction: Instruction, right: Value, bits: int) -> Value:
        if instruction.offset:
            if not isinstance(right, Constant) or instruction.offset not in (8, 16, 32):
                return None
            right = Constant(sign_extended(right.number, instruction.offset))
        if bits == 32 and isinstance(right, Constant):
            return Constant(right.number & MASK32, right.field_of)
        return right

    def _load(self, instruction: Instruction, place: Place, state: State) -> Value:
        base = state.registers[instruction.source]
        size = instruction.size
        signed = instruction.code & 0xE0 != MODE_MEMORY
        if isinstance(base, Argument):
            self._believe(base, self._fields.get(place))
            return None
        if base is None or isinstance(base, (Constant, Address)):
            return None
        offset = base.offset + instruction.offset
        if isinstance(base, Context):
            self._note_read(offset, size, place)
            return Argument(offset, 0) if size >= _LEAST_ARGUMENT else None
        if isinstance(base, Stack):
            return None if signed else state.stack.get((offset, size))
        if isinstance(base, Setting):
            held = self._world.settings.get(base.name)
        else:
            held = self._world.constants.get(base.section)
        if held is None or not 0 <= offset <= len(held) - size:
            return None
        number = int.from_bytes(held[offset : offset + size], "little")
        return Constant(sign_extended(number, 8 * size) if signed else number)

    def _store(self, instruction: Instruction, state: State) -> None:
        registers = state.registers
        base = registers[instruction.destination]
        value: Value = registers[instruction.source]
        if instruction.kind == ST:
            value = Constant(instruction.immediate & (1 << 8 * instruction.size) - 1)
        atomic = instruction.kind == STX and instruction.code & 0xE0 == MODE_ATOMIC
        if isinstance(base, Stack):
            offset, size = base.offset + instruction.offset, instruction.size
            if isinstance(value, Constant):
                value = Constant(value.number & (1 << 8 * size) - 1, value.field_of)
            elif size != 8:
                value = None
            state.store(offset, size, None if atomic else value)
        if atomic and instruction.immediate & 0xFF == _COMPARE_AND_EXCHANGE:
            registers[0] = None
        elif atomic and instruction.immediate & _FETCH:
            registers[instruction.source] = None

    def _note_read(self, offset: int, size: int, place: Place) -> None:
        self._reached.reads.setdefault((offset, size), ContextRead(offset, size, place))

    def _believe(self, value: Value, kind: Type | None) -> None:
        if kind is not None and isinstance(value, Argument) and not value.offset:
            self._reached.believed.setdefault(value.slot, {}).setdefault(kind.name, kind)
