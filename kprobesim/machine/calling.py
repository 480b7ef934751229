"""``Calling``: a guest whose functions are called, one call inside of another or one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from kprobesim.errors import EngineError
from kprobesim.machine.cpu import Cpu
from kprobesim.machine.faults import CallStopped, GuestLimit, GuestTimeout
from kprobesim.machine.memory import GuestMemory
from kprobesim.machine.nested_call import NestedCall
from kprobesim.machine.quick_call import QuickCall, make_quick_call
from kprobesim.machine.signals import signals
from kprobesim.machine.stacks import Stacks
from kprobesim.machine.system import System
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.machine.turn import HandlerOverstayed, is_alone
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["SLICE", "Calling"]

SLICE = 1 << 18
"""Blocks between two looks at the host: 1 to 20 ms."""


class Calling(System):
    """The part of a :class:`~kprobesim.machine.machine.Machine` that calls.

    Attributes:
        stacks: What the functions that are called run on.
        return_address: Where they return to: the CPU is halted there. That is 4-6 times cheaper
            than Unicorn's end address, whose block is translated anew at every run.
        returned: Where the CPU is then.
        counts_instructions: Whether calls without a limit count instructions, too, as long as
            others do: to change that drops all translated code.
        runs_slices: Whether the outermost call runs slice by slice, of so many instructions each.
    """

    memory: GuestMemory

    def __init__(self, engine: Engine, cpu: Cpu, memory: GuestMemory) -> None:
        """Make a guest that cannot call before :meth:`return_to`."""
        super().__init__(engine, cpu, memory)
        self.turn.stop_soon = self._stop_soon
        self._stop_asked = False
        self.counts_instructions = False
        self.runs_slices = False
        self._result = cpu.regs_class.RETURN
        self._quick: QuickCall | None = None
        self._quick_most = len(cpu.regs_class.ARGUMENTS)

    def return_to(self, pad: int) -> None:
        """Let the functions that are called return to ``pad``, where the CPU halts."""
        self.return_address = pad
        self.returned = pad + len(self.cpu.halt)
        self.stacks = Stacks(self.vcpu, self.memory, pad)

    @property
    def target(self) -> int:
        """The function that is called now, the innermost one."""
        return self.stacks.at(self.depth - 1).target

    def call(
        self,
        target: int,
        arguments: Sequence[int],
        *,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
    ) -> int:
        """Call the guest function at ``target`` and return the 64-bit result.

        Registers and the probes' control block are afterwards as before, also if the call failed.
        Raises what a handler raised, :class:`GuestFault`, :class:`GuestTimeout` (after ``timeout``
        seconds), :class:`GuestLimit` (after ``max_instructions`` instructions, if not 0), what the
        handler of a signal raised, :class:`CallStopped`, and :class:`UsageError` in a thread while
        another one uses this guest.
        """
        turn = self.turn
        turn.begin()
        try:
            return self.call_in_turn(target, arguments, timeout, max_instructions)
        finally:
            turn.end()

    def call_in_turn(
        self, target: int, arguments: Sequence[int], timeout: float | None, max_instructions: int
    ) -> int:
        """As :meth:`call`, by whoever has the turn already."""
        vcpu = self.vcpu
        depth = vcpu.depth
        if not depth and not max_instructions and len(arguments) <= self._quick_most:
            if self._quick is None:
                self._find_quick()
            elif vcpu.engine.run_time is None and not (
                self.stacks.cleaners or self.counts_instructions
            ):
                return self._quick.call(target, arguments, timeout)
        stack = self.stacks.at(depth)
        context, hit_state = stack.context, vcpu.hit_state
        context.save()
        outer = NestedCall(vcpu, in_slice=self.runs_slices) if depth else None
        state = hit_state.save()
        vcpu.depth = depth + 1
        used = 0
        try:
            stack.enter(target, arguments)
            limit = max_instructions if outer is None else outer.limit(max_instructions)
            used = self._run(target, timeout, limit)
            return vcpu.words[self._result]
        except BaseException:
            hit_state.restore(state)
            if depth:
                context.restore()
                self._take_back_the_stop()
            raise
        finally:
            vcpu.depth = depth
            context.restore()
            if outer is None:
                self._stop_asked = False
            else:
                outer.go_on(used)
                if signals.pending:
                    self._stop_soon()

    def _find_quick(self) -> None:
        """From the second call on there may be a quicker way."""
        self._quick = make_quick_call(self, SLICE)
        self._quick_most = -1 if self._quick is None else self._quick.most

    def _stop_soon(self) -> None:
        """In a callback: let the current run end at the next block."""
        count = self.engine.counter_words
        count[1] = min(count[0] + self.engine.extra_count[0], count[1])

    def stop(self) -> None:
        """Let the outermost call that runs now end as :class:`CallStopped`, and all within it."""
        if self.depth:
            self._stop_asked = True
            if self.turn.is_mine:
                self._stop_soon()

    def go_on(self, timeout: float | None) -> None:
        """The guest was run, in its turn, and has not come to the return pad: let it."""
        self._run(self.words[self.engine.layout.pc], timeout, 0, begun=True)

    def _run(self, begin: int, timeout: float | None, limit: int, *, begun: bool = False) -> int:
        """Run from ``begin`` until the return pad; returns the counted instructions.

        ``begun``: it was run already, and has stopped there.
        """
        vcpu, returned, turn = self.vcpu, self.returned, self.turn
        engine, words = vcpu.engine, vcpu.words
        program_counter = engine.layout.pc
        outer = turn.deadline, turn.level
        deadline = outer[0]
        if timeout is not None:
            mine = time.monotonic() + timeout
            turn.deadline = deadline = mine if deadline is None else min(mine, deadline)
        turn.level = turn.count
        address, used, most, status = begin, 0, SLICE, 0
        try:
            while True:
                if not begun:
                    if limit:
                        engine.count_instructions()
                    elif not engine.counts.in_blocks and not self.counts_instructions:
                        engine.count_blocks()
                    count = min(limit - used, most) if limit else most
                    status = engine.run(address, count, holding=is_alone())
                begun = False
                if self._stop_asked:
                    self._stopped(CallStopped, "the call was stopped")
                address = words[program_counter]
                if limit:
                    used += min(engine.counter)
                if address == returned:
                    return used - 1  # without the halt
                if address == self.return_address and limit and used >= limit:
                    limit = used + 1  # the halt is not the function's; and return probes wait there
                if status:
                    raise EngineError(
                        f"Unicorn stopped at {self.symbolize(address)}: {engine.describe(status)}"
                    )
                most = SLICE
                if signals.pending:
                    if vcpu.hit_state.is_stepping:
                        most = 1  # somebody may call a function: not in the middle of a hit
                    else:
                        turn.deliver()
                if deadline is not None and time.monotonic() >= deadline:
                    self._stopped(GuestTimeout, f"guest still running after {timeout or 0:g} s")
                if limit and used >= limit:
                    self._stopped(
                        partial(GuestLimit, instructions=used),
                        f"guest still running after {used} instructions",
                    )
                if self._halted(address):
                    vcpu.traps.dispatch(Trap(TrapKind.HALT, 0))
                    address = words[program_counter]
        except HandlerOverstayed:
            self.overstayed(timeout)
        finally:
            turn.deadline, turn.level = outer

    def overstayed(self, timeout: float | None) -> NoReturn:
        """Raise the :class:`GuestTimeout` of a handler that takes longer than its call may."""
        self._stopped(GuestTimeout, f"a handler is still running after {timeout or 0:g} s")

    def forget_stop(self) -> None:
        """The outermost call is over, as :meth:`stop` may have asked."""
        self._stop_asked = False

    def _take_back_the_stop(self) -> None:
        """Let Unicorn forget that a nested run was stopped.

        It would call no more code hooks in the outer one (but for those it compiled in when they
        were the only one). The next run to begin resets that (unicorn#1487, #591: nested runs are
        nobody's first concern).
        """
        self.engine.run(self.return_address, 2)

    def _halted(self, address: int) -> bool:
        """Whether the guest waits for an interrupt: none will come.

        Other exits are harmless: WFE, PAUSE, or what a stopped nested call left behind.
        """
        halt = self.cpu.halt
        before = address - len(halt)
        return self.text.is_code(before) and self.memory.read(before, len(halt)) == halt

    def _stopped(self, error: Callable[..., BaseException], headline: str) -> NoReturn:
        regs = self.regs.copy()
        raise error(headline, regs, self.symbolize(regs.ip), self.unwind(regs))


signals.boundaries.add(Calling._run.__code__)
