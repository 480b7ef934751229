"""A CPU with memory: runs guest functions and hands its traps to whoever wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from kprobesim.errors import EngineError, UsageError
from kprobesim.machine.counter_clock import CounterClock
from kprobesim.machine.cpu import make_cpu
from kprobesim.machine.faults import CallStopped, GuestLimit, GuestTimeout
from kprobesim.machine.guard_pages import GuardedArea
from kprobesim.machine.heap import Heap
from kprobesim.machine.memory import DIRECT_MAP, GuestMemory, Prot, Region
from kprobesim.machine.own_instructions import own_instructions
from kprobesim.machine.randomness import Randomness
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.signals import signals
from kprobesim.machine.system import System
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.machine.turn import HandlerOverstayed, is_alone
from kprobesim.machine.unicorn.context import Context
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import PAGE

__all__ = ["Machine"]

_STACK = 64 << 10
_CLEAN = bytes(PAGE)
_CALLER = 256  # bytes of a frame above that of the function that is called
_STACK_STRIDE = 1 << 20  # unmapped guard space between stacks
_SHADOW_STACK, _TO_SHADOW_STACK = 64 << 10, 512 << 10  # a word for each of the smallest frames
_MAX_DEPTH = 16
_BLOCK = 2 << 20
_TLB_ENTRIES = 256, 8192  # what Unicorn starts with, and what we want
_SLICE = 1 << 18  # blocks between two looks at the host: 1 to 20 ms


class Machine(System):
    """A guest whose functions are called: memory, code and stacks of the host's making.

    A trap that no probe and no handler takes ends the call as a :class:`GuestFault`.
    """

    memory: GuestMemory

    def __init__(self, arch: str, ram_size: int, image_end: int = 0) -> None:
        engine = Engine(arch)
        engine.stop_between_blocks()
        engine.count_blocks()
        cpu = make_cpu(engine)
        memory = GuestMemory(cpu.isa.ram_base, ram_size, cpu.pte_format)
        engine.map_ram(memory.base, ram_size, memory.host_address)
        super().__init__(engine, cpu, memory)
        self.turn.stop_soon = self._stop_soon
        self.memory.next_frame = max(image_end, memory.base + _BLOCK)
        self.cpu.start(self.memory)
        self.clock: CounterClock = CounterClock()
        self._watched = own_instructions(self, self.memory, self.clock)
        self._stop_asked = False
        shadow = self.isa.abi.shadow_stack_register
        self._shadow_register = None if shadow is None else self.isa.abi.number(shadow)
        self._contexts: list[Context] = []
        self._stacks: list[int] = []
        self._shadow_stacks: list[int] = []
        self.targets = [0] * _MAX_DEPTH
        """The functions that are called now, the outermost first, ``depth`` of them."""
        self.stack_cleaners: list[Callable[[int, int], None]] = []
        """Told before each call which stack, from start to end, it will use."""
        self._stack_offsets: list[int] = []
        self._direct_map()
        page = self.memory.map_new(self.isa.vmalloc_start, PAGE, Prot.RX, "return pad")
        self._pad = page.start
        self._returned = self._pad + len(self.cpu.halt)
        self._widen_tlb(page.start)
        self.memory.write(self._pad, self.cpu.halt)

    # -- memory ------------------------------------------------------------------------------------

    def _direct_map(self) -> None:
        """All RAM at the kernel's direct map; the heap is the upper part of what is free.

        At its end a quarter of the heap is not mapped: guard pages lie there.
        """
        memory = self.memory
        start = self.isa.page_offset
        free = memory.base + memory.size - memory.next_frame
        if free < 8 * _BLOCK:
            raise UsageError(
                f"{memory.size >> 20} MiB of RAM are too few for this kernel: "
                f"use at least {(memory.size - free + 16 * _BLOCK) >> 20} MiB"
            )
        heap = memory.next_frame + free // 4 & -_BLOCK
        end = memory.base + memory.size
        guarded = end - max((end - heap) // 4, GuardedArea.least_bytes()) & -_BLOCK
        offset = guarded - memory.base
        memory.map(start, memory.base, offset, Prot.RW, DIRECT_MAP)
        self.heap = Heap(start + heap - memory.base, start + offset)
        self.guarded = GuardedArea(
            memory, start + offset, memory.size - offset, self.engine.flush_tlb, self.heap
        )
        self.explainers.append(self._explain_bounds)
        memory.limit_frames(heap)

    def _explain_bounds(self, trap: Trap, regs: PtRegs) -> str:
        """Which argument, allocation or stack a fault is out of bounds of."""
        if trap.address is None:
            return ""
        for top in self._stacks[: self.depth]:
            end = top + _CALLER
            if end - _STACK - PAGE <= trap.address < end - _STACK:
                return f"the stack of {_STACK >> 10} KiB is used up"
            if end <= trap.address < end + PAGE:
                return "behind the stack: a variable of the function that is called is overrun"
        return self.guarded.explain(trap.address)

    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Code has been put at ``address``: what Unicorn does not execute right there is done here.

        Clocks and random numbers that it reads are ours, too.
        """
        for each in self._watched:
            each.see_code(address, code)

    def unmap(self, region: Region) -> None:
        """Take memory of ``map_new`` away; nothing of the guest may be running there."""
        if region.prot & Prot.X:
            for each in self._watched:
                each.forget_code(region.start, region.end)
            self.memory.wrote(region.offset, region.end - region.start)
        self.memory.unmap(region)
        self.engine.flush_tlb()

    def protect(self, region: Region, prot: Prot) -> Region:
        """Change what the guest may do with memory of ``map_new``."""
        region = self.memory.protect(region, prot)
        self.engine.flush_tlb()
        return region

    def _widen_tlb(self, scratch: int) -> None:
        """Grow the TLB by filling it before each flush: only then does Unicorn double it.

        It is direct-mapped, and with 256 entries any two pages 1 MiB apart throw each other out:
        sha256 on ARM64 took 35 ms a megabyte and takes 12, memcpy of 8 MiB took 26 ms and takes 4.
        """
        toucher, before = self.cpu.page_toucher, self.engine.new_context()
        self.memory.write(scratch, toucher)
        pointer, counter = self.cpu.regs_class.ARGUMENTS[:2]
        entries, wanted = _TLB_ENTRIES
        while entries < wanted:
            self.words[pointer], self.words[counter] = self.isa.page_offset, entries
            status = self.engine.run(scratch)
            if status:
                raise EngineError(f"Unicorn stopped at once: {self.engine.describe(status)}")
            self.engine.flush_tlb()
            entries *= 2
        before.restore()
        self.memory.write(scratch, bytes(len(toucher)))

    # -- calling -----------------------------------------------------------------------------------

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
        if depth == len(self._contexts):
            self._grow()
        engine, context = vcpu.engine, self._contexts[depth]
        context.save()
        # (Not held at depth 0: the hit path tells by the reference count that nobody kept them.)
        outer, handling = vcpu.regs if depth else None, vcpu.in_handler
        if outer is not None:
            if handling:
                outer.freeze()
            vcpu.regs = vcpu.new_regs()
        vcpu.in_handler = False
        state = vcpu.hit_state.save()
        outer_counter = engine.counter if depth else None
        counter = outer_counter if engine.counting else None
        vcpu.depth = depth + 1
        used = 0
        try:
            self._clean_stack(depth)
            self.targets[depth] = target
            vcpu.cpu.prepare_call(self.memory, self._stacks[depth], arguments, self._pad)
            if self._shadow_register is not None:
                vcpu.words[self._shadow_register] = self._shadow_stacks[depth]
            limit = max_instructions
            if counter is not None:
                left = counter[1] - counter[0]
                limit = min(limit, left) if limit else left
            used = self._run(target, timeout, limit)
            return vcpu.regs.return_value
        except BaseException:
            vcpu.hit_state.restore(state)
            if depth:
                context.restore()
                self._take_back_the_stop()
            raise
        finally:
            vcpu.depth = depth
            if not depth:
                self._stop_asked = False
            context.restore()
            vcpu.in_handler = handling
            if outer is not None:
                vcpu.regs = outer
                if handling:
                    outer.thaw(vcpu.words, vcpu.cpu)
            if counter is not None:
                engine.counter = (counter[0] + used, counter[1])
            elif outer_counter is not None:
                engine.counter = outer_counter
            if depth:
                # Meanwhile the block that goes on now may have been translated anew.
                engine.code_pages.written = True
                if signals.pending:
                    self._stop_soon()

    def _stop_soon(self) -> None:
        """In a callback: let the current run end at the next block."""
        count = self.engine.counter_words
        count[1] = min(count[0] + self.engine.extra_count, count[1])

    def check_idle(self) -> None:
        """Raise :class:`UsageError` while a call runs."""
        if self.depth:
            raise UsageError("the guest is running: its state can be had between two calls")

    def save_clock(self) -> Any:
        """What decides the times and random numbers to come, for :meth:`restore_clock`."""
        numbers = [each.state for each in self._watched if isinstance(each, Randomness)]
        run_time = self.engine.run_time
        return self.clock.value, numbers, 0 if run_time is None else run_time.now()

    def restore_clock(self, kept: Any) -> None:
        """Times and random numbers are those that come after :meth:`save_clock` gave ``kept``."""
        self.clock.value, numbers, now = kept
        if self.engine.run_time is not None:
            self.engine.run_time.set(now)
        sources = [each for each in self._watched if isinstance(each, Randomness)]
        for source, state in zip(sources, numbers, strict=True):
            source.state = state

    def stop(self) -> None:
        """Let the outermost call that runs now end as :class:`CallStopped`, and all within it."""
        if self.depth:
            self._stop_asked = True
            if self.turn.is_mine:
                self._stop_soon()

    @property
    def return_address(self) -> int:
        """Where a called function returns to."""
        return self._pad

    def _grow(self) -> None:
        """Make room for one more nested call: a stack of its own between guard pages."""
        depth = len(self._contexts)
        if depth == _MAX_DEPTH:
            raise UsageError(f"guest calls are nested {_MAX_DEPTH} deep; is a handler recursing?")
        base = self.isa.vmalloc_start + (depth + 1) * _STACK_STRIDE
        region = self.memory.map_new(base, _STACK, Prot.RW, f"stack {depth}")
        self._stacks.append(region.end - _CALLER)
        if self._shadow_register is not None:
            shadow = self.memory.map_new(
                base + _TO_SHADOW_STACK, _SHADOW_STACK, Prot.RW, f"shadow call stack {depth}"
            )
            self._shadow_stacks.append(shadow.start)
        self._stack_offsets.append(region.offset + _STACK)
        self._contexts.append(self.engine.new_context())

    def _clean_stack(self, depth: int) -> None:
        """Let a call find nothing that earlier ones have left below its stack pointer.

        Frames are smaller than a page, so the first clean page from the top ends what was used.
        """
        for clean in self.stack_cleaners:
            clean(self._stacks[depth] - _STACK, self._stacks[depth])
        ram, end = self.memory.ram, self._stack_offsets[depth]
        start = end - _STACK
        ram[end - PAGE : end] = _CLEAN
        end -= PAGE
        while end > start and ram[end - PAGE : end] != _CLEAN:
            ram[end - PAGE : end] = _CLEAN
            end -= PAGE

    def _run(self, begin: int, timeout: float | None, limit: int) -> int:
        """Run from ``begin`` until the return pad; returns the counted instructions.

        The pad halts the CPU. That is 4-6 times cheaper than Unicorn's end address, whose block is
        translated anew at every run.
        """
        vcpu, returned, turn = self.vcpu, self._returned, self.turn
        engine, words = vcpu.engine, vcpu.words
        program_counter = engine.layout.pc
        outer = turn.deadline, turn.level
        deadline = outer[0]
        if timeout is not None:
            mine = time.monotonic() + timeout
            turn.deadline = deadline = mine if deadline is None else min(mine, deadline)
        turn.level = turn.count
        address, used, most = begin, 0, _SLICE
        try:
            while True:
                if limit:
                    engine.count_instructions()
                elif not engine.counts.in_blocks:
                    engine.count_blocks()
                count = min(limit - used, most) if limit else most
                status = engine.run(address, count, holding=is_alone())
                if self._stop_asked:
                    self._stopped(CallStopped, "the call was stopped")
                address = words[program_counter]
                if limit:
                    used += min(engine.counter)
                if address == returned:
                    return used - 1  # without the halt
                if address == self._pad and limit and used >= limit:
                    limit = used + 1  # the halt is not the function's; and return probes wait there
                if status:
                    raise EngineError(
                        f"Unicorn stopped at {self.symbolize(address)}: {engine.describe(status)}"
                    )
                most = _SLICE
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
            self._stopped(GuestTimeout, f"a handler is still running after {timeout or 0:g} s")
        finally:
            turn.deadline, turn.level = outer

    def _take_back_the_stop(self) -> None:
        """Let Unicorn forget that a nested run was stopped.

        It would call no more code hooks in the outer one (but for those it compiled in when they
        were the only one). The next run to begin resets that (unicorn#1487, #591: nested runs are
        nobody's first concern).
        """
        self.engine.run(self._pad, 2)

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


signals.boundaries.add(Machine._run.__code__)
