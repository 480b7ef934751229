"""``walk``: which instructions of a program can be reached, by what the verifier knows of numbers.

A number is known if it stands in the code, as relocations put it there, or in a setting of the
kernel that libbpf fills in. Jumps on known numbers are taken or not; on others, both ways are gone.
The verifier follows each path by itself. Here paths that meet are one from there on, which ends
soon and may reach more than the verifier does, where two conditions depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from kprobesim.bpf.externs import ExternKind
from kprobesim.bpf.flow.arithmetic import compare
from kprobesim.bpf.flow.reach import Place, Reached, World
from kprobesim.bpf.flow.state import FRAME, State
from kprobesim.bpf.flow.step import Step
from kprobesim.bpf.flow.values import (
    Address,
    Constant,
    Context,
    ReadOnly,
    Setting,
    Stack,
    Value,
    is_not_zero,
    meet,
)
from kprobesim.bpf.instructions import CALL, EXIT, JMP, JMP32, PSEUDO_CALL, Instruction
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.program import Function, Program
from kprobesim.sizes import MASK32, MASK64
from kprobesim.types.model import Type

__all__ = ["walk"]

_EQUAL, _NOT_EQUAL = 0x10, 0x50


def walk(
    obj: BpfObject,
    program: Program,
    world: World | None = None,
    code: Mapping[Function, tuple[Instruction, ...]] | None = None,
    fields: Mapping[Place, Type] | None = None,
) -> Reached:
    """Walk through ``program`` and all functions of ``obj`` that it calls.

    Args:
        obj: Where it is from.
        program: Where to start.
        world: What is known of the kernel.
        code: The instructions of each function after relocation; by default as they are in ``obj``.
        fields: For instructions with the offset of a member, the type whose member it is.
    """
    walker = _Walker(obj, world or World(), code or {}, fields or {})
    start = State()
    start.registers[1], start.registers[FRAME] = Context(0), Stack(0)
    walker.enter(program.function, start)
    walker.run()
    return walker.reached


class _Walker:
    def __init__(
        self,
        obj: BpfObject,
        world: World,
        code: Mapping[Function, tuple[Instruction, ...]],
        fields: Mapping[Place, Type],
    ) -> None:
        self.reached = Reached()
        self._obj = obj
        self._world = world
        self._code = code
        self._step = Step(world, fields, self.reached)
        self._kinds = {one.name: one.kind for one in obj.externs}
        self._ahead: list[tuple[Function, int, State]] = []
        self._states: dict[Place, State] = {}
        self._joins: dict[Function, set[int]] = {}
        self._returns: dict[Function, Value] = {}
        self._callers: dict[Function, dict[Place, State]] = {}

    def enter(self, function: Function, state: State) -> None:
        self._ahead.append((function, 0, state))

    def run(self) -> None:
        while self._ahead:
            self._follow(*self._ahead.pop())

    def _follow(self, function: Function, index: int, state: State) -> None:
        """Go on from an instruction until paths part for good, or one of them was here before."""
        code = self._code.get(function, function.instructions)
        joins = self._joins.get(function)
        if joins is None:
            joins = self._joins[function] = _joins(code)
        seen = self.reached.instructions.setdefault(function, set())
        step = self._step.run
        while 0 <= index < len(code):
            place = function, index
            if index in joins:
                known = self._states.get(place)
                if known is None:
                    self._states[place] = state.copy()
                elif known.merge(state):
                    state = known.copy()
                else:
                    return
            seen.add(index)
            instruction = code[index]
            if instruction.kind not in (JMP, JMP32):
                if instruction.is_wide:
                    state.registers[instruction.destination] = self._wide(place, code, state)
                    index += 1
                else:
                    step(instruction, place, state)
                index += 1
                continue
            operation = instruction.code & 0xF0
            if instruction.code == EXIT:
                self._leave(function, state)
                return
            if instruction.code == CALL:
                if not self._call(instruction, place, state):
                    return
            elif operation == 0:
                index += instruction.immediate if instruction.kind == JMP32 else instruction.offset
            else:
                taken = _taken(instruction, operation, state)
                if taken is not False:
                    target = index + 1 + instruction.offset
                    there = state if taken else state.copy()
                    _note_equal(instruction, operation, _EQUAL, there)
                    if taken:
                        index = target - 1
                    else:
                        self._ahead.append((function, target, there))
                if not taken:
                    _note_equal(instruction, operation, _NOT_EQUAL, state)
            index += 1

    def _wide(self, place: Place, code: tuple[Instruction, ...], state: State) -> Value:
        """What a load of 64 bits gives: a number, or the address of what a symbol names."""
        function, index = place
        symbol = function.references.get(index)
        instruction = code[index]
        if symbol is None:
            upper = code[index + 1].immediate if index + 1 < len(code) else 0
            return Constant(instruction.immediate & MASK32 | (upper & MASK32) << 32)
        if symbol.is_extern:
            if self._kinds.get(symbol.name) is ExternKind.KCONFIG:
                return Setting(symbol.name, instruction.immediate)
            return Constant(0) if symbol.name in self._world.missing else Address(symbol.name)
        if symbol.section in self._obj.constants:
            return ReadOnly(symbol.section, symbol.value + instruction.immediate)
        callback = self._obj.callee(function, index)
        if callback is not None:
            self.enter(callback, State().for_callee(alone=True))
        return Address(symbol.name)

    def _call(self, instruction: Instruction, place: Place, state: State) -> bool:
        """Call something; whether the path goes on at once."""
        function, index = place
        callee = self._obj.callee(function, index)
        if callee is not None:
            inner = state.for_callee(alone=callee.is_global)
            state.clobber()
            self._callers.setdefault(callee, {})[place] = state
            self.enter(callee, inner)
            if callee.is_global:
                return True
            if callee in self._returns:
                state.registers[0] = self._returns[callee]
                self._callers[callee][place] = state.copy()
                return True
            return False
        symbol = function.references.get(index)
        if symbol is not None and symbol.is_extern:
            self.reached.kfuncs.setdefault(symbol.name, place)
        elif instruction.source != PSEUDO_CALL:
            self.reached.helpers.setdefault(instruction.immediate, place)
            self._step.reads_memory(instruction.immediate, place, state)
        state.clobber()
        return True

    def _leave(self, function: Function, state: State) -> None:
        """A function returns: those that wait for what it returns go on."""
        value = state.registers[0]
        if isinstance(value, (Context, Stack)):
            value = None
        if function in self._returns:
            met = meet(self._returns[function], value)
            if met == self._returns[function]:
                return
            value = met
        self._returns[function] = value
        for (caller, index), kept in self._callers.get(function, {}).items():
            back = kept.copy()
            back.registers[0] = value
            self._ahead.append((caller, index + 1, back))


def _joins(code: tuple[Instruction, ...]) -> set[int]:
    """The first instruction, those that jumps lead to, and those behind jumps and own calls."""
    found = {0}
    for index, instruction in enumerate(code):
        if instruction.kind not in (JMP, JMP32) or instruction.code == EXIT:
            continue
        if instruction.code != CALL or instruction.source == PSEUDO_CALL:
            found.add(index + 1)
        if instruction.code == JMP32:  # a jump further than 16 bits tell
            found.add(index + 1 + instruction.immediate)
        elif instruction.code != CALL:
            found.add(index + 1 + instruction.offset)
    return found


def _operands(instruction: Instruction, state: State) -> tuple[Value, Value]:
    left = state.registers[instruction.destination]
    if instruction.code & 8:
        return left, state.registers[instruction.source]
    return left, Constant(instruction.immediate & MASK64)


def _taken(instruction: Instruction, operation: int, state: State) -> bool | None:
    """Whether a jump is taken; ``None`` if it may be or not."""
    left, right = _operands(instruction, state)
    bits = 64 if instruction.kind == JMP else 32
    if isinstance(left, Constant) and isinstance(right, Constant):
        return compare(operation, left.number, right.number, bits)
    if isinstance(right, Constant) and not right.number and is_not_zero(left) and bits == 64:
        if operation == _EQUAL:
            return False
        if operation == _NOT_EQUAL:
            return True
    return None


def _note_equal(instruction: Instruction, operation: int, wanted: int, state: State) -> None:
    """On the way where a register equals a number, it is that number."""
    if operation == wanted and instruction.kind == JMP:
        left, right = _operands(instruction, state)
        if left is None and isinstance(right, Constant):
            state.registers[instruction.destination] = Constant(right.number)
