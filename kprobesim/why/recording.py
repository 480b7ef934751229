"""``Recording``: one run of a function, instruction by instruction, as something to ask."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from kprobesim.arch.architecture import architecture
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.sizes import MASK32, MASK64
from kprobesim.why.decode import Code
from kprobesim.why.instruction import Constant, Insn, Memory, Place, Register

__all__ = ["PER_CPU", "Recording"]

PER_CPU = 1 << 72
"""Added to addresses that count from GS, so that they are no others'."""


class Recording:
    """What ran, from a function's first instruction to what it returned to.

    Attributes:
        code: The guest's instructions.
        end: How many instructions ran; the values of registers are known up to this number, too.
        returned: What the function returned, as 64 bits.
    """

    def __init__(
        self,
        noted: EveryInstruction,
        code: Code,
        read: Callable[[int, int], int | None],
        end: int,
    ) -> None:
        """Ask ``noted``; ``read(address, size)`` is memory as it was when the function began."""
        self.code = code
        self.end = end
        self._noted = noted
        self._read = read
        self._writers: list[int] | None = None
        abi = architecture(code.arch).abi
        self.sp_number = abi.number(abi.stack_pointer)
        self.result_number = abi.number(abi.result)
        self.returned = noted.register(end, self.result_number)

    def __len__(self) -> int:
        return self.end

    def address(self, number: int) -> int:
        """Where instruction ``number`` lies."""
        return self._noted.address(number)

    def occurrence(self, number: int) -> int:
        """How often the instruction at the address of ``number`` has run then, with that one."""
        addresses = self._noted.addresses
        return addresses[: number + 1].count(addresses[number])

    def came_to(self, address: int) -> bool:
        """Whether the instruction at ``address`` ran."""
        return address in self._noted.addresses

    def insn(self, number: int) -> Insn | None:
        """Instruction ``number``."""
        return self.code.at(self._noted.address(number))

    def register(self, number: int, register: int) -> int:
        """A register before instruction ``number``."""
        return self._noted.register(number, register)

    def sp(self, number: int) -> int:
        """The stack pointer before instruction ``number``."""
        return self._noted.register(number, self.sp_number)

    def where(self, number: int, memory: Memory) -> int:
        """The address that instruction ``number`` means by ``memory``."""
        at = memory.displacement
        if memory.base is not None:
            at += self.register(number, memory.base)
        if memory.index is not None:
            index = self.register(number, memory.index)
            if memory.index_size == 4:
                index &= MASK32
                if memory.index_signed:
                    index -= index >> 31 << 32
            at += index * memory.scale
        return (at & MASK64) + (PER_CPU if memory.segment else 0)

    def value(self, number: int, place: Place) -> int | None:
        """What is in ``place`` before instruction ``number``; ``None`` if nobody knows."""
        if isinstance(place, Constant):
            return place.value
        if isinstance(place, Register):
            value = self.register(number, place.number) >> place.shift
            return value & ((1 << 8 * place.size) - 1)
        return self.memory(number, self.where(number, place), place.size)

    def memory(self, number: int, address: int, size: int) -> int | None:
        """What was in memory before instruction ``number``; ``None`` if nobody knows."""
        writer = self.last_write(number, address, size)
        if writer is None:
            return None if address >= PER_CPU else self._read(address, size)
        at, place, source, width = writer
        if source is None or place > address or place + width < address + size:
            return None
        value = self.value(at, source)
        if value is None:
            return None
        return value >> 8 * (address - place) & ((1 << 8 * size) - 1)

    def last_write(
        self, number: int, address: int, size: int
    ) -> tuple[int, int, Place | None, int] | None:
        """Who wrote there last, before instruction ``number``.

        Returns:
            The number of the instruction, the address and the source of what it put there, and how
            many bytes that are; ``None``: nobody since the function began.
        """
        for at in self._writing_before(number):
            insn = self.insn(at)
            assert insn is not None
            for move in insn.moves:
                target = move.target
                if isinstance(target, Memory):
                    place = self.where(at, target)
                    if place < address + size and address < place + target.size:
                        source = move.sources[0] if len(move.sources) == 1 else None
                        return at, place, source, target.size
        return None

    def _writing_before(self, number: int) -> list[int]:
        """The instructions before ``number`` that write memory, the last first."""
        if self._writers is None:
            writes: dict[int, bool] = {}
            found = []
            for at, address in enumerate(self._noted.addresses[: self.end]):
                known = writes.get(address)
                if known is None:
                    insn = self.code.at(address)
                    known = insn is not None and any(
                        isinstance(move.target, Memory) for move in insn.moves
                    )
                    writes[address] = known
                if known:
                    found.append(at)
            self._writers = found
        return self._writers[: bisect_left(self._writers, number)][::-1]
