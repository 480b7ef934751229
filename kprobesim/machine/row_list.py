"""``RowList``: what is done for each of many calls of one function, as a list of C calls.

For one row: the top of the stack becomes clean, data are copied to where pages end, registers set,
the guest is run, and if it has come back as usual its result is kept, data are copied back,
registers and pages put back. The list ends in the middle of a row at whatever is not as usual.
"""

from __future__ import annotations

import ctypes

from kprobesim.machine.calling import SLICE
from kprobesim.machine.guard_pages import POISON_FREE
from kprobesim.machine.machine import Machine
from kprobesim.machine.unicorn.call_list import (
    STEP,
    Buffer,
    CallList,
    compare,
    copy,
    find_call_list,
    succeed,
)
from kprobesim.sizes import PAGE

__all__ = ["BACK", "DATA", "NUMBER", "ROWS", "STAGING", "RowList", "Shape"]

NUMBER, DATA, BACK = 0, 1, 2
"""Kinds of arguments: a number, data, and data that are wanted back."""
ROWS = 256
"""How many rows there are at most."""
STAGING = 256 << 10
"""Bytes of data of all of them."""

Shape = tuple[int, ...]
"""The kind of each argument."""


class RowList:
    """The list for calls of ``target`` with arguments of one ``shape``.

    Attributes:
        calls: The list.
        steps: How many there are in a row.
        resume: The number of the first step behind the run.
        images: The registers of each row, as words.
        width: How many registers there are.
        results: The results, a word each.
        current: In its word, the number of the row that runs, or ran last.
        data: What the rows' data are copied from.
        back: What is copied back.
        places: Of each argument that is data: where its page ends, for the guest and in RAM.
        slots: Of each argument: its kind, the number of its register, where its page ends for the
            guest and for the host; in words from the start of a row, the step that copies it there,
            and the one that copies it back.
    """

    def __init__(
        self,
        machine: Machine,
        target: int,
        shape: Shape,
        places: list[tuple[int, int]],
    ) -> None:
        """Write it.

        Args:
            machine: The guest.
            target: The address of the function.
            shape: At most as many arguments as there are registers for them.
            places: Address and offset in RAM of the page of each argument that is data.
        """
        vcpu, stack = machine.vcpu, machine.stacks.at(0)
        pc, words = vcpu.engine.layout.pc, ctypes.addressof(vcpu.words)
        ram = machine.memory.host_address
        self.places = [(at + PAGE, offset + PAGE) for at, offset in places]
        self.width = pc
        self.images, self.results = Buffer(8 * pc * ROWS), Buffer(8 * ROWS)
        self.data, self.back, self.current = Buffer(STAGING), Buffer(STAGING), Buffer(8)
        self._constants = Buffer(3 * PAGE + 8 + 8 * ROWS)
        clean = self._constants.address
        poison, top, returned = clean + PAGE, clean + 2 * PAGE, clean + 3 * PAGE
        numbers = returned + 8
        constant = self._constants.bytes
        constant[PAGE : 2 * PAGE] = POISON_FREE * PAGE
        constant[2 * PAGE : 3 * PAGE] = stack.first_page
        words_behind = self._constants.words[3 * PAGE // 8 :]
        words_behind[0] = machine.returned
        for row in range(ROWS):
            words_behind[1 + row] = row
        result = words + 8 * vcpu.cpu.regs_class.RETURN
        begin = [
            copy(self.current.address, numbers, 8),
            copy(ram + stack.offsets[0], top, PAGE),
            copy(words, self.images.address, 8 * pc),
        ]
        fetch = [copy(0, 0, 0) for _ in places]
        run = [
            vcpu.engine.start_step(target, SLICE),
            compare(words + 8 * pc, returned, 8),
        ]
        keep = [copy(self.results.address, result, 8)]
        hand_back = [copy(0, 0, 0) for kind in shape if kind == BACK]
        end = [
            succeed(*stack.context.restoring),
            *(copy(ram + end - PAGE, poison, PAGE) for _, end in self.places),
            compare(ram + stack.offsets[1], clean, PAGE),
        ]
        steps = [*begin, *fetch, *run, *keep, *hand_back, *end]
        self.steps = len(steps)
        self.resume = len(begin) + len(fetch) + len(run)
        self.slots = self._slots(machine, shape, len(begin), self.resume + len(keep))
        make = find_call_list()
        assert make is not None
        self.calls: CallList = make(len(steps) * ROWS)
        self._repeat(steps, {0: 8, 2: 8 * pc, self.resume: 8})

    def _slots(
        self, machine: Machine, shape: Shape, fetch: int, back: int
    ) -> list[tuple[int, int, int, int, int, int]]:
        ram, slots = machine.memory.host_address, []
        places = iter(self.places)
        registers = machine.cpu.regs_class.ARGUMENTS
        for kind, register in zip(shape, registers[: len(shape)], strict=True):
            if kind == NUMBER:
                slots.append((kind, register, 0, 0, 0, 0))
                continue
            guest, end = next(places)
            slots.append((kind, register, guest, ram + end, fetch * STEP, back * STEP))
            fetch += 1
            back += kind == BACK
        return slots

    def _repeat(self, row: list[tuple[int, ...]], moves: dict[int, int]) -> None:
        """Write all rows: in step ``n`` what is of the row's own moves by ``moves[n]`` bytes."""
        stride = self.steps * STEP
        one = memoryview((ctypes.c_uint64 * stride)(*(word for step in row for word in step)))
        words, one = self.calls.words, one.cast("B").cast("Q")
        for number in range(ROWS):
            at = number * stride
            words[at : at + stride] = one
            for step, move in moves.items():
                word = at + step * STEP + (1 if step == self.resume else 2)
                words[word] += number * move

    def reset(self, machine: Machine, rows: int) -> None:
        """Let the registers of so many rows be as they are when a function is called."""
        registers = machine.vcpu.words[: self.width]
        for number, value in machine.stacks.at(0).frame:
            registers[number] = value
        image = bytes((ctypes.c_uint64 * self.width)(*registers))
        self.images.bytes[: len(image) * rows] = image * rows
        self.current.words[0] = 0
