"""``RowCalls``: many calls of one function, most of them without Python in between.

What Python does between two calls takes longer than a short function. So some hundred rows of
arguments are laid out first, and a list of C calls (:mod:`.row_list`) does the rest. Whatever is
not as usual ends the list in the middle of a row, and Python goes on as in any other call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kprobesim.machine.calling import SLICE
from kprobesim.machine.guard_pages import POISON_FREE, Lent
from kprobesim.machine.machine import Machine
from kprobesim.machine.row_list import BACK, DATA, NUMBER, ROWS, STAGING, RowList, Shape
from kprobesim.machine.signals import signals
from kprobesim.machine.turn import HandlerOverstayed, is_alone
from kprobesim.machine.unicorn.call_list import STEP, find_call_list
from kprobesim.sizes import MASK64, PAGE

__all__ = ["RowCalls"]

_LONG, _SHORT = 4e-3, 1e-3  # seconds: signals wait so long, and less is not worth the way
_FEW = 4

Row = Sequence[Any]


class RowCalls:
    """The calls of the function at ``target``; whoever makes them has the turn.

    ``number`` gives the 64 bits of an argument that is neither data nor an ``int``; ``None``: it
    has none.
    """

    def __init__(self, machine: Machine, target: int, number: Callable[[Any], int | None]) -> None:
        self._machine = machine
        self.target = target
        self._number = number
        self._shape: Shape = ()
        self._list: RowList | None = None
        self._most = _FEW  # rows at a time
        self._backs: list[tuple[int, bytearray, int, int]] = []

    def are_possible(self) -> bool:
        """Whether calls can be made so: not by a handler, nor where somebody looks at each run."""
        machine = self._machine
        return (
            machine.depth == 0
            and not machine.stacks.cleaners
            and not machine.counts_instructions
            and machine.engine.run_time is None
            and find_call_list() is not None
        )

    def call(
        self, rows: Sequence[Row], first: int, timeout: float | None, results: list[int]
    ) -> None:
        """Call the function for ``rows`` from the ``first`` on, as long as they are alike.

        Args:
            rows: Arguments, as :meth:`Kernel.call` takes them. One that cannot be passed ends it,
                as do data of more than a page, and more arguments than there are registers.
            first: The index of a row.
            timeout: Seconds for each call.
            results: Gets the results; also where it raises, those of the calls before.

        It raises what a call raises.
        """
        shape = tuple(_kind(argument) for argument in rows[first])
        machine = self._machine
        if len(shape) > len(machine.cpu.regs_class.ARGUMENTS):
            return
        data = sum(kind != NUMBER for kind in shape)
        places = machine.guarded.occupy(data, self._lent)
        try:
            row_list = self._list
            if row_list is None or shape != self._shape:
                self._list = row_list = RowList(machine, self.target, shape, places)
                self._shape = shape
            while first < len(rows):
                filled = self._fill(row_list, rows[first : first + self._most])
                if not filled:
                    return
                began = time.monotonic()
                self._run(row_list, filled, timeout, results)
                first += filled
                took = time.monotonic() - began
                if took > _LONG:
                    self._most = max(1, self._most // 2)
                elif took < _SHORT:
                    self._most = min(ROWS, self._most * 2)
                if signals.pending:
                    machine.turn.deliver()
        finally:
            machine.guarded.leave(data)

    def _fill(self, row_list: RowList, rows: Sequence[Row]) -> int:
        """Lay the arguments out; of how many rows: up to the first that is not as the others."""
        words, images, slots = row_list.calls.words, row_list.images.words, row_list.slots
        stride, width = row_list.steps * STEP, row_list.width
        data_at, back_at = row_list.data.address, row_list.back.address
        row_list.reset(self._machine, len(rows))
        backs: list[tuple[int, bytearray, int, int]] = []
        self._backs = backs
        pieces: list[bytes | bytearray] = []
        done = used = step = image = 0
        for row in rows:
            if len(row) != len(slots):
                break
            for argument, (kind, register, guest, host, fetch, back) in zip(  # noqa: B905
                row, slots
            ):
                if kind == NUMBER:
                    value = argument if type(argument) is int else self._number(argument)
                    if value is None or not -(1 << 63) <= value <= MASK64:
                        break
                    images[image + register] = value & MASK64
                    continue
                if kind != _kind(argument):
                    break
                piece = _bytes_of(argument)
                size = len(piece)
                if used + size > STAGING or size > PAGE or not size:
                    break
                at = step + fetch
                words[at + 1], words[at + 2], words[at + 3] = host - size, data_at + used, size
                images[image + register] = guest - size
                if kind == BACK:
                    if any(other is argument for _, other, _, _ in backs):
                        break  # it is to have what an earlier call has made of it
                    at = step + back
                    words[at + 1], words[at + 2], words[at + 3] = back_at + used, host - size, size
                    backs.append((done, argument, used, size))
                pieces.append(piece)
                used += size
            else:
                done, step, image = done + 1, step + stride, image + width
                continue
            break
        whole = b"".join(pieces)
        row_list.data.bytes[: len(whole)] = whole
        return done

    def _run(
        self, row_list: RowList, count: int, timeout: float | None, results: list[int]
    ) -> None:
        """Make the calls of the first ``count`` rows that are laid out."""
        machine, steps = self._machine, row_list.steps
        vcpu, turn, stack = machine.vcpu, machine.turn, machine.stacks.at(0)
        engine, hit_state = vcpu.engine, vcpu.hit_state
        if not engine.counts.in_blocks:
            engine.count_blocks()
        stack.context.save()
        state, stack.target, vcpu.depth = hit_state.save(), self.target, 1
        outer, turn.level = (turn.deadline, turn.level), turn.count
        turn.deadline = None if timeout is None else time.monotonic() + timeout
        step, end, done = 0, count * steps, 0
        try:
            stack.clean_below()
            while True:
                try:
                    step = engine.run_list(row_list.calls, step, end, SLICE, holding=is_alone())
                finally:
                    done = row_list.current.words[0]
                if step == end:
                    done = count
                    break
                if step % steps < row_list.resume:
                    machine.go_on(timeout)
                    step = done * steps + row_list.resume
                else:
                    stack.clean_below()
                    step += 1
        except BaseException as error:
            hit_state.restore(state)
            if isinstance(error, HandlerOverstayed):
                machine.overstayed(timeout)
            raise
        finally:
            vcpu.depth = 0
            machine.forget_stop()
            stack.context.restore()
            turn.deadline, turn.level = outer
            if done < count:
                for _, host in row_list.places:
                    machine.memory.ram[host - PAGE : host] = POISON_FREE * PAGE
            results += row_list.results.words[:done].tolist()
            for row, argument, at, size in self._backs:
                if row < done:
                    argument[:] = row_list.back.bytes[at : at + size]

    def _lent(self) -> Iterator[Lent]:
        """What lies in the places now."""
        row_list = self._list
        if row_list is None:
            return
        words = row_list.calls.words
        step = row_list.current.words[0] * row_list.steps * STEP
        for number, (kind, _, guest, _, fetch, _) in enumerate(row_list.slots, 1):
            if kind != NUMBER:
                size = words[step + fetch + 3]
                yield number, guest - size, size


def _kind(argument: Any) -> int:
    if isinstance(argument, (str, bytes)):
        return DATA
    return BACK if isinstance(argument, bytearray) else NUMBER


def _bytes_of(argument: str | bytes | bytearray) -> bytes | bytearray:
    """What is placed in memory; nothing for what cannot be."""
    if isinstance(argument, str):
        try:
            return argument.encode() + b"\0"
        except UnicodeEncodeError:
            return b""
    return argument


signals.boundaries.add(RowCalls._run.__code__)
