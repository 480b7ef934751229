"""Call traces: who called the function that stopped."""

from __future__ import annotations

from itertools import islice

from kprobesim.boot.stack_trace import StackTrace
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.guest import Guest
from kprobesim.machine.registers import PtRegs

__all__ = ["Unwinder"]

_DEPTH = 16
_STACK_WORDS = 512


class Unwinder:
    """Symbolises addresses and walks the stack."""

    def __init__(self, machine: Guest, image: KernelImage) -> None:
        self._memory = machine.memory
        self._stack = StackTrace(machine, image)
        self._image = image

    def symbolize(self, address: int) -> str:
        """``symbol+0x10/0x40`` as the kernel's ``%pS`` prints it, else the number."""
        found = self._image.symbols.at(address)
        return str(found) if found else f"{address:#x}"

    def trace(self, regs: PtRegs) -> list[str]:
        """The callers, innermost first. A line that starts with ``? `` is a guess."""
        try:
            known = list(islice(self._stack.frames(regs), _DEPTH))
            if len(known) > 1 or self._image.arch == "arm64":
                return [self._stack.symbolize(frame) for frame in known]
            return self._guesses(regs)
        except GuestMemoryError:
            return []

    def _guesses(self, regs: PtRegs) -> list[str]:
        """Where nothing is known of the stack every word that follows a call is shown."""
        trace = [self.symbolize(regs.ip)]
        base = regs.sp & ~7
        for at in range(base, base + 8 * _STACK_WORDS, 8):
            try:
                word = self._memory.read_u64(at)
            except GuestMemoryError:
                break  # the end of the stack
            if self._is_return_address(word):
                trace.append("? " + self.symbolize(word))
                if len(trace) == _DEPTH:
                    break
        return trace

    def _is_return_address(self, address: int) -> bool:
        if not self._image.is_code(address):
            return False
        before = self._memory.read(address - 7, 7)
        direct = before[2] == 0xE8
        # call through a register or memory: FF /2 with 2 to 7 bytes
        indirect = any(before[at] == 0xFF and before[at + 1] >> 3 & 7 == 2 for at in range(6))
        return direct or indirect
