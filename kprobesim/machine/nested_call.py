"""What a call that is made by a handler, and so inside of another one, puts aside of that."""

from __future__ import annotations

from kprobesim.machine.vcpu import Vcpu

__all__ = ["NestedCall"]


class NestedCall:
    """Made before the inner call begins; :meth:`go_on` when it is over.

    The outermost call has none: the hit path tells by the reference count that nobody kept its
    registers, which are held here.
    """

    __slots__ = ("_counter", "_handling", "_is_limited", "_regs", "_vcpu")

    def __init__(self, vcpu: Vcpu, *, in_slice: bool) -> None:
        """Let ``vcpu`` show other registers, and be in no handler.

        ``in_slice``: the outer call runs slice by slice, and what is counted of it is of no concern
        to the inner one.
        """
        self._vcpu = vcpu
        self._regs, self._handling = vcpu.regs, vcpu.in_handler
        if self._handling:
            vcpu.busy[0] += 1
            self._regs.freeze()
        vcpu.regs = vcpu.new_regs()
        vcpu.in_handler = False
        self._counter = vcpu.engine.counter
        self._is_limited = vcpu.engine.counting and not in_slice

    def limit(self, max_instructions: int) -> int:
        """The instructions that the inner call may execute, if it may ``max_instructions``."""
        if not self._is_limited:
            return max_instructions
        left = self._counter[1] - self._counter[0]
        return min(max_instructions, left) if max_instructions else left

    def go_on(self, used: int) -> None:
        """Go on with the outer call; the inner one has executed ``used`` instructions."""
        vcpu = self._vcpu
        vcpu.in_handler = self._handling
        vcpu.regs = self._regs
        if self._handling:
            vcpu.busy[0] -= 1
            self._regs.thaw(vcpu.words, vcpu.cpu)
        done, limit = self._counter
        vcpu.engine.counter = done + used if self._is_limited else done, limit
        # Meanwhile the block that goes on now may have been translated anew.
        vcpu.engine.code_pages.written = True
