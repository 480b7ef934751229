"""``QuickCall``: the outermost call, whose run and what is around it are one list of C calls.

Registers are saved, the stack is cleaned, the guest is run, its result kept and registers put back
without Python in between. Whatever is not as usual ends the list, and Python goes on from there.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kprobesim.machine.signals import signals
from kprobesim.machine.turn import HandlerOverstayed, is_alone
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

if TYPE_CHECKING:
    from kprobesim.machine.calling import Calling

__all__ = ["QuickCall", "make_quick_call"]

_RUN, _KEPT, _STEPS = 3, 5, 8
_TARGET = _RUN * STEP + 2  # the word that says where the run begins


class QuickCall:
    """The list for one machine."""

    def __init__(self, machine: Calling, calls: CallList, slice_: int) -> None:
        """Write it into ``calls``; the guest runs ``slice_`` blocks before somebody looks at it."""
        self._machine = machine
        vcpu, stack = machine.vcpu, machine.stacks.at(0)
        self._vcpu, self._stack, self._engine = vcpu, stack, vcpu.engine
        self._slice = slice_
        pc, words = vcpu.engine.layout.pc, ctypes.addressof(vcpu.words)
        self._result_number = vcpu.cpu.regs_class.RETURN
        self._registers = vcpu.cpu.regs_class.ARGUMENTS
        self.most = len(self._registers)
        """How many arguments it can pass."""
        self._live = memoryview(vcpu.words).cast("B")[: 8 * pc]
        self._image, self._result, self._constants = Buffer(8 * pc), Buffer(8), Buffer(2 * PAGE + 8)
        constants = self._constants
        constants.bytes[:PAGE] = stack.first_page
        constants.words[2 * PAGE // 8] = machine.returned
        ram = machine.memory.host_address
        steps = [
            succeed(*stack.context.saving),
            copy(ram + stack.offsets[0], constants.address, PAGE),
            copy(words, self._image.address, 8 * pc),
            vcpu.engine.start_step(0, slice_),
            compare(words + 8 * pc, constants.address + 2 * PAGE, 8),
            copy(self._result.address, words + 8 * self._result_number, 8),
            succeed(*stack.context.restoring),
            compare(ram + stack.offsets[1], constants.address + PAGE, PAGE),
        ]
        assert len(steps) == _STEPS
        flat = (ctypes.c_uint64 * (STEP * _STEPS))(*(word for step in steps for word in step))
        calls.words[:] = memoryview(flat).cast("B").cast("Q")
        self._calls = calls

    def call(self, target: int, arguments: Sequence[int], timeout: float | None) -> int:
        """See :meth:`Calling.call_in_turn`; at most :attr:`most` arguments."""
        machine, vcpu, engine, stack = self._machine, self._vcpu, self._engine, self._stack
        turn, hit_state, image = machine.turn, vcpu.hit_state, self._image
        image.bytes[:] = self._live
        values = image.words
        for number, value in stack.frame:
            values[number] = value
        for number, value in zip(self._registers, arguments):  # noqa: B905 - a slow check
            values[number] = value
        self._calls.words[_TARGET] = target
        if not engine.counts.in_blocks:
            engine.count_blocks()
        outer, state = (turn.deadline, turn.level), hit_state.save()
        if timeout is not None:
            turn.deadline = time.monotonic() + timeout
        turn.level = turn.count
        stack.target, vcpu.depth = target, 1
        step = 0
        try:
            step = engine.run_list(self._calls, 0, _STEPS, self._slice, holding=is_alone())
            if step < _KEPT:
                machine.go_on(timeout)
                return vcpu.words[self._result_number]
            if step < _STEPS:
                stack.clean_below()
            return self._result.words[0]
        except BaseException as error:
            hit_state.restore(state)
            if isinstance(error, HandlerOverstayed):
                machine.overstayed(timeout)
            raise
        finally:
            vcpu.depth = 0
            machine.forget_stop()
            if step < _KEPT:
                stack.context.restore()
            turn.deadline, turn.level = outer


def make_quick_call(machine: Calling, slice_: int) -> QuickCall | None:
    """The one of ``machine``; ``None`` where there is no :func:`.call_list.find_call_list`."""
    make = find_call_list()
    return None if make is None else QuickCall(machine, make(_STEPS), slice_)


signals.boundaries.add(QuickCall.call.__code__)
