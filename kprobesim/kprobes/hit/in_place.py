"""Instructions under hooks, which run where they are: how each is done when a handler waits for it.

Nothing has been copied, and nothing may be noticed: the guest's clock must not show that a hit has
left a block and entered it again.
"""

from __future__ import annotations

from kprobesim.errors import GuestMemoryError
from kprobesim.kprobes.arch_kprobes import ArchInsn
from kprobesim.kprobes.events import HitKind
from kprobesim.kprobes.hit.common import STEPPING, Finish, HitSteps
from kprobesim.kprobes.hooked import HookedPlaces
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["InPlace"]


class InPlace:
    """One CPU's.

    Attributes:
        arrives_again: The address whose hit is over, and whose block starts anew there.
        behind: The address whose instruction follows the one that is on its way by itself.
        code_pages: They know if a handler has written code.
        finish: What follows a step of the CPU's own that went on behind the instruction.
        counter: What was counted in this run, and its limit.
    """

    def __init__(self, steps: HitSteps, hooked: HookedPlaces) -> None:
        vcpu = steps.vcpu
        engine = vcpu.engine
        self.arrives_again: int | None = None
        self.behind: int | None = None
        self.code_pages = engine.code_pages
        self.counter = memoryview(engine.counter_words).cast("B").cast("Q")
        self._steps, self._vcpu, self._hooked = steps, vcpu, hooked
        self._flags, self._pc = engine.layout.flags, engine.layout.pc
        self._mask, self._masked = vcpu.cpu.step_flags(single_step=True)
        self._hidden = vcpu.system.clock.hidden(engine)
        self._leave_block = engine.leave_block
        self._look_in_next = engine.dispatch.look_in_next
        self.finish = self._make_finish(steps.finish)

    def comes_again(self, address: int) -> bool:
        """Whether the hit at ``address`` is over, or its instruction about to be done."""
        ctl = self._steps.ctlblk
        p = ctl.current_kprobe
        stepping = p is not None and p.addr == address and bool(ctl.kprobe_status & STEPPING)
        return stepping or self.arrives_again == address

    def forget(self) -> None:
        """What was going on is over."""
        self.arrives_again = self.behind = None

    # -- emulated ----------------------------------------------------------------------------------

    def emulate(self, p: Kprobe, ainsn: ArchInsn) -> bool:
        """Do the instruction here, behind which the guest goes on; true: the block is left."""
        vcpu, steps = self._vcpu, self._steps
        assert ainsn.emulate is not None
        self._hidden.begin()
        try:
            ainsn.emulate(vcpu.regs, steps.machine.memory)
        except GuestMemoryError as error:
            steps.emulation_fault(p, error)
        else:
            vcpu.cpu.shadow_interrupts(ainsn.shadows)
            if steps.listeners:
                steps.tell(HitKind.EMULATE, p, steps.ctlblk.kprobe_status)
            steps.finish(p)
        behind = (p.addr or 0) + ainsn.size
        if vcpu.words[self._pc] == behind:
            self._hidden.end(behind, ends_block=ainsn.ends_block)
        return self.leave()

    # -- by itself ---------------------------------------------------------------------------------

    def run_to(self, behind: int) -> None:
        """The instruction at ``behind``, which follows the one that runs now, is hooked."""
        self.behind = behind
        if self.counter[0] >= self.counter[1]:  # the run must not end before it
            self._hidden.begin_step()

    def end_last(self) -> bool:
        """The CPU stands behind the instruction; whether the run is over there."""
        return self._hidden.end_where_it_is()

    # -- stepped by the CPU ------------------------------------------------------------------------

    def step(self, p: Kprobe, ainsn: ArchInsn) -> bool:
        """Let it be done by the CPU, whose block is left and begins anew; true.

        If what is behind it is sure to come next that is hooked, now, and it runs by itself. Else
        the CPU traps behind it, which takes a block more.
        """
        address = p.addr or 0
        self._hooked.hear_end(p, ainsn)
        if self._hooked.ends.get(address) == address + ainsn.size:
            self.run_to(address + ainsn.size)
            return self.start_over()
        self.code_pages.written = False  # what comes next is translated anew
        words, flags = self._vcpu.words, self._flags
        words[flags] = words[flags] & ~self._mask | self._masked
        self._hidden.begin_step()
        self._look_in_next()
        self._vcpu.cpu.set_single_step(True)
        return self.leave()

    def step_again(self) -> None:
        """An instruction that repeats itself has one more turn."""
        self._hidden.step_again()
        self._look_in_next()

    def _make_finish(self, finish: Finish) -> Finish:
        """``finish`` for an instruction that was stepped, and goes on behind itself.

        For the post_handler the time is what it was before the instruction, and not less.
        """
        end_step, end = self._hidden.end_step, self._hidden.end
        words, pc = self._vcpu.engine.window, self._pc

        def finish_in_place(p: Kprobe, ainsn: ArchInsn | None = None) -> bool:
            behind = words[pc]
            end_step()
            done = finish(p, ainsn)
            end(behind)
            return done

        return finish_in_place

    # -- the block ---------------------------------------------------------------------------------

    def end_by_fault(self) -> bool:
        """The instruction has faulted; whether the CPU was stepping it."""
        if self.behind is None:
            self._hidden.end_by_fault()
            return True
        self.behind = None
        if self._vcpu.engine.extra_count[0]:
            self.end_last()
        return False

    def leave(self) -> bool:
        """End the block, and go on at the program counter; true."""
        self._leave_block()
        return True

    def start_anew(self, address: int) -> bool:
        """End the block, which begins again at ``address``, whose hit is over; true."""
        if address in self._hooked.armed:
            self.arrives_again = address
        return self.start_over()

    def start_over(self) -> bool:
        """End the block, which begins again where it ends, and nobody has been told; true."""
        self.code_pages.written = False
        self._hidden.once_more()
        self._leave_block()
        return True
