"""Call traces: who called the function that stopped."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.system import System
from kprobesim.stack.orc import CodePlace
from kprobesim.stack.walk import StackWalker

__all__ = ["Unwinder"]

_DEPTH = 32
_STACK_SIZE = 16 << 10  # of most stacks, in bytes
_SWITCHES = 4  # from one stack to that which it interrupted
_KERNEL = 0xFFFF_8000_0000_0000  # x86-64: lower addresses are not the kernel's
_KERNEL_CS, _KERNEL_DS = 0x10, 0x18


_GUESSES = halves(x86_64=True, arm64=False)  # show_trace_log_lvl() of x86 shows them


class Unwinder:
    """Symbolises addresses and walks the stack."""

    def __init__(self, machine: System, image: KernelImage) -> None:
        self._memory = machine.memory
        self._image = image
        self._stack = StackWalker(machine, image)

    def symbolize(self, address: int) -> str:
        """``symbol+0x10/0x40`` as the kernel's ``%pS`` prints it, else the number."""
        return self._stack.symbolize(CodePlace(address, True))

    def trace(self, regs: PtRegs) -> list[str]:
        """The callers, innermost first. A line that starts with ``? `` is a guess."""
        trace: list[str] = []
        with suppress(GuestMemoryError):  # what was found until then is worth something
            last = None
            for frame in islice(self._stack.frames(regs), _DEPTH):
                trace.append(self._stack.symbolize(frame))
                last = frame
            if last is not None and _GUESSES[self._image.arch] and regs.ip >= _KERNEL:
                # (A program's stack holds nothing of the kernel's.)
                at = self._stack.lost_at(last, regs)
                if at is not None:
                    self._guesses(at & ~7, trace)
        return trace

    def _guesses(self, at: int, trace: list[str]) -> None:
        """Where nothing is known of an x86-64 stack every word that follows a call is shown.

        No guess is the place in an exception's frame (ip, cs, flags, sp, ss).
        """
        for _ in range(_SWITCHES):
            words = self._words(at)
            for at_word, word in enumerate(words):
                frame = words[at_word + 1 : at_word + 5 : 3]
                if frame == [_KERNEL_CS, _KERNEL_DS] and self._stack.is_code(word):
                    trace.append(self.symbolize(word))
                elif self._is_return_address(word):
                    guess = self._stack.symbolize(CodePlace(word, False))
                    if guess not in trace:
                        trace.append("? " + guess)
                if len(trace) >= _DEPTH:
                    return
            # On top of an interrupt's stack is the stack pointer of what it interrupted; on top of
            # an exception's own, that and SS.
            if words[-1:] == [_KERNEL_DS]:
                words.pop()
            below = words[-1] if words else 0
            if below < _KERNEL or below & 7 or at <= below < at + _STACK_SIZE:
                return
            at = below

    def _words(self, at: int) -> list[int]:
        """The words from ``at`` to the stack's end: a page that is not mapped, or its size."""
        words = []
        for address in range(at, (at | _STACK_SIZE - 1) + 1, 8):
            try:
                words.append(self._memory.read_u64(address))
            except GuestMemoryError:
                break
        return words

    def _is_return_address(self, address: int) -> bool:
        if not self._stack.is_code(address):
            return False
        before = self._memory.read(address - 7, 7)
        direct = before[2] == 0xE8
        # call through a register or memory: FF /2 with 2 to 7 bytes
        indirect = any(before[at] == 0xFF and before[at + 1] >> 3 & 7 == 2 for at in range(6))
        return direct or indirect
