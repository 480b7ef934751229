"""Hits of hooks: the CPU stops before the instruction, which is as it always was.

It runs in its place: by itself if nobody waits for its end, else emulated where the kernel would,
or by the CPU's single step.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.arch_kprobes import ArchInsn
from kprobesim.kprobes.hit.common import Finish, HitSteps, make_hit
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.machine.vcpu import Vcpu

__all__ = ["HookHits"]


class _InPlace:
    """What is under a hook: nothing has been copied, and nothing may be noticed.

    The guest's clock must not show that a hit left a block, and entered it again.

    Attributes:
        arrives_again: The address whose hit is over, and whose block starts anew there.
        code_pages: They know if a handler has written code.
        refresh: Gives how to execute what is there now; ``None``: a breakpoint of the guest's.
        end_by_fault: The step has faulted.
    """

    def __init__(self, vcpu: Vcpu) -> None:
        engine = vcpu.engine
        self.arrives_again: int | None = None
        self.refresh: Callable[[Kprobe], ArchInsn | None] = lambda p: p.ainsn
        self._hidden = hidden = vcpu.system.clock.hidden(engine)
        self.end_by_fault = hidden.end_by_fault
        self.code_pages = engine.code_pages
        self._leave_block = engine.leave_block
        self._look_in_next = engine.dispatch.look_in_next

    def begin(self) -> None:
        """The instruction is about to be emulated, behind which the guest goes on."""
        self._hidden.begin()

    def end(self) -> None:
        """It was, and the block will be entered, and counted, once more."""
        self._hidden.end()

    def begin_step(self) -> None:
        """The CPU is about to step the instruction: a block more will be run."""
        self._hidden.begin_step()
        self._look_in_next()

    def step_again(self) -> None:
        """An instruction that repeats itself has one more turn."""
        self._hidden.step_again()
        self._look_in_next()

    def leave(self) -> bool:
        """End the block: the step that was asked for would not end it elsewhere."""
        self._leave_block()
        return True

    def start_anew(self, address: int) -> bool:
        """End the block, which begins again at ``address``, whose hit is over."""
        self.code_pages.written, self.arrives_again = False, address
        self._hidden.once_more()
        self._leave_block()
        return True

    def make_finish(self, finish: Finish) -> Finish:
        """``finish`` for an instruction that was stepped, and goes on behind itself.

        For the post_handler the time is what it was before the instruction, and not less.
        """
        end_step, end = self._hidden.end_step, self._hidden.end

        def finish_in_place(p: Kprobe, ainsn: ArchInsn | None = None) -> bool:
            end_step()
            done = finish(p, ainsn)
            end()
            return done

        return finish_in_place


class HookHits:
    """Takes one CPU's hits of the hooked probes in ``table``.

    Attributes:
        hit: The hook's callback.
        finish_in_place: What follows a step that went on behind the instruction.
        in_place: How instructions run where they are.
    """

    def __init__(self, steps: HitSteps, table: dict[int, Kprobe]) -> None:
        """Make the hook's callback from the CPU's ``steps`` and the probes by address."""
        self.in_place = _InPlace(steps.vcpu)
        self.finish_in_place = self.in_place.make_finish(steps.finish)
        self.hit = make_hit(steps, table, single_step=True, in_place=self.in_place)
