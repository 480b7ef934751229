"""``State``: the registers and the stack of one function at one instruction."""

from __future__ import annotations

from kprobesim.bpf.flow.values import Address, Context, Stack, Value, meet

__all__ = ["FRAME", "State"]

FRAME = 10  # the register that points to the top of the stack
_REGISTERS = 11


class State:
    """What is known; changed in place, so whoever keeps one copies it."""

    __slots__ = ("registers", "stack")

    def __init__(self) -> None:
        self.registers: list[Value] = [None] * _REGISTERS
        #: By offset from the top and size, in bytes.
        self.stack: dict[tuple[int, int], Value] = {}

    def copy(self) -> State:
        """Another one that says the same."""
        other = State()
        other.registers = self.registers.copy()
        other.stack = self.stack.copy()
        return other

    def merge(self, other: State) -> bool:
        """Forget what does not hold in ``other``, too; whether something was forgotten."""
        changed = False
        for number, value in enumerate(self.registers):
            met = meet(value, other.registers[number])
            if met != value or type(met) is not type(value):
                self.registers[number] = met
                changed = True
        for place, value in list(self.stack.items()):
            met = meet(value, other.stack.get(place))
            if met is None:
                del self.stack[place]
                changed = True
            elif met != value:
                self.stack[place] = met
                changed = True
        return changed

    def store(self, offset: int, size: int, value: Value) -> None:
        """Write to the stack; what overlaps is gone."""
        self.forget(offset, offset + size)
        if value is not None:
            self.stack[offset, size] = value

    def forget(self, start: int, end: int = 0) -> None:
        """Forget what lies there on the stack, by default up to its top."""
        gone = [place for place in self.stack if place[0] < end and sum(place) > start]
        for place in gone:
            del self.stack[place]

    def clobber(self) -> None:
        """What a call leaves: nothing in r0 to r5, nor on the stack where it was pointed to."""
        for number in range(1, 6):
            value = self.registers[number]
            if isinstance(value, Stack):
                self.forget(value.offset)
        self.registers[:6] = [None] * 6

    def for_callee(self, alone: bool) -> State:
        """What a function that is called starts with.

        Args:
            alone: It is verified by itself, so only pointers to the context are known.
        """
        callee = State()
        for number in range(1, 6):
            value = self.registers[number]
            if isinstance(value, Stack):
                value = Address("the caller's stack")
            callee.registers[number] = value if not alone or isinstance(value, Context) else None
        callee.registers[FRAME] = Stack(0)
        return callee
