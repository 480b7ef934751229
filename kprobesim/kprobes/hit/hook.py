"""Hits of hooks: the CPU stops before the instruction, which is as it always was.

It runs in its place: by itself if nobody waits for its end, else emulated where the kernel would,
or by the CPU's single step.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.arch_kprobes import ArchInsn
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.hit.common import Finish, HitSteps, make_hit
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.machine.clock import HiddenTime
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["HookHits"]

_STEPPING = int(KprobeStatus.KPROBE_HIT_SS) | int(KprobeStatus.KPROBE_REENTER)


class _InPlace:
    """Keeps from the guest's clock that a hit left a block, and entered it again.

    Attributes:
        refresh: Gives how to execute what is there now; ``None``: a breakpoint of the guest's.
        before_execution: The hit will leave the block.
        after_emulation: The block will be entered, and counted, once more.
        after_fault: The step has faulted.
    """

    def __init__(self, hidden: HiddenTime, engine: Engine) -> None:
        self.refresh: Callable[[Kprobe], ArchInsn | None] = lambda p: p.ainsn
        self.before_execution = hidden.begin
        self.after_emulation = hidden.end
        self.after_fault = hidden.end_by_fault
        self._hidden = hidden
        self._hooks = engine.hooks

    def before_step(self) -> None:
        """A block more will be run, once for each turn of the instruction."""
        self._hidden.begin_step()
        if self._hooks.exits is not None:
            self._hooks.exits.look_in_next()

    def make_finish(self, finish: Finish) -> Finish:
        """``finish`` for an instruction that was stepped, and goes on behind itself.

        For the post_handler the time is what it was before the instruction, and not less.
        """
        hidden = self._hidden

        def finish_in_place(p: Kprobe, ainsn: ArchInsn | None = None) -> bool:
            hidden.end_step()
            done = finish(p, ainsn)
            hidden.end()
            return done

        return finish_in_place


class HookHits:
    """Takes one CPU's hits of the hooked probes in ``table``.

    Attributes:
        hit: The hook's callback.
        finish_in_place: What follows a step that went on behind the instruction.
        in_place: How instructions run where they are.
        arrives_again: The address whose hit is over and whose block starts anew there, since a
            handler has written code: what follows in the block may be another now.
    """

    def __init__(self, steps: HitSteps, table: dict[int, Kprobe]) -> None:
        """Make the hook's callback from the CPU's ``steps`` and the probes by address."""
        self.in_place = _InPlace(steps.machine.clock.hidden(steps.vcpu.engine), steps.vcpu.engine)
        self.finish_in_place = self.in_place.make_finish(steps.finish)
        self.arrives_again: int | None = None
        self.hit = self._make_hit(steps, table)

    def _make_hit(self, steps: HitSteps, table: dict[int, Kprobe]) -> Callable[[int, int], bool]:
        machine, ctl = steps.machine, steps.ctlblk
        words, pc, write_pc = machine.words, machine.engine.layout.pc, machine.engine.write_pc
        trap_offset = steps.arch.isa.breakpoint_offset
        hit = make_hit(steps, single_step=True, in_place=self.in_place)
        code_pages = machine.engine.code_pages

        def hook(address: int, _size: int) -> bool:
            """Before the instruction at ``address``; true if the CPU leaves its block for it."""
            p = ctl.current_kprobe
            if p is not None and ctl.kprobe_status & _STEPPING and p.addr == address:
                return False  # here again, now to be stepped
            if address == self.arrives_again:
                self.arrives_again = None
                return False
            p = table.get(address)
            if p is None:
                return False  # a handler in the same block has taken it out
            words[pc] = address + trap_offset
            if hit(p):
                write_pc(words[pc])  # which ends the block: a step would not end it elsewhere
                return True
            if code_pages.written:
                code_pages.written, self.arrives_again = False, address
                self.in_place.before_execution()
                self.in_place.after_emulation()
                write_pc(address)
                return True
            return False

        return hook
