"""Call traces: who called the function that stopped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.guest import Guest
from kprobesim.machine.registers import PtRegs

__all__ = ["Unwinder"]

_DEPTH = 32
_STACK_SIZE = 16 << 10  # of most stacks, in bytes
_SWITCHES = 4  # from one stack to that which it interrupted
_KERNEL = 0xFFFF_8000_0000_0000  # x86-64: lower addresses are not the kernel's
_KERNEL_CS, _KERNEL_DS = 0x10, 0x18


class Unwinder:
    """Symbolises addresses and walks the stack."""

    def __init__(self, machine: Guest, image: KernelImage) -> None:
        self._memory = machine.memory
        self._image = image

    def symbolize(self, address: int) -> str:
        """``symbol+0x10/0x40`` as the kernel's ``%pS`` prints it, else the number."""
        found = self._image.symbols.at(address) if self._image.has_symbols else None
        return str(found) if found else f"{address:#x}"

    def trace(self, regs: PtRegs) -> list[str]:
        """The callers, innermost first. A line that starts with ``? `` is a guess."""
        trace = [self.symbolize(regs.ip)]
        with suppress(GuestMemoryError):  # what was found until then is worth something
            if self._image.arch == "arm64":
                self._frames(regs, trace)
            elif regs.ip >= _KERNEL:  # a program's stack holds nothing of the kernel's
                self._guesses(regs.sp & ~7, trace)
        return trace

    def _caller(self, address: int) -> str:
        """Where a call was: ``address`` is behind it, perhaps behind the function (``%pB``)."""
        found = self._image.symbols.at(address - 1) if self._image.has_symbols else None
        return str(replace(found, offset=found.offset + 1)) if found else f"{address:#x}"

    def _frames(self, regs: PtRegs, trace: list[str]) -> None:
        """ARM64 kernels keep frame records: x29 points at (caller's x29, return address)."""
        link, frame = regs.gpr(30), regs.gpr(29)
        if self._is_return_address(link):
            trace.append("? " + self._caller(link))
        while frame and frame % 8 == 0 and len(trace) < _DEPTH:
            caller, link = self._memory.read_u64(frame), self._memory.read_u64(frame + 8)
            if not self._is_return_address(link):
                break
            entry = self._caller(link)
            if trace[-1] == "? " + entry:
                trace[-1] = entry
            else:
                trace.append(entry)
            # An interrupt's frames lead from its own stack back to the one that it interrupted.
            if frame - _STACK_SIZE < caller <= frame:
                break
            frame = caller

    def _guesses(self, at: int, trace: list[str]) -> None:
        """x86-64 kernels have no frame pointers: every word that follows a call is shown.

        No guess is the place in an exception's frame (ip, cs, flags, sp, ss).
        """
        for _ in range(_SWITCHES):
            words = self._stack(at)
            for at_word, word in enumerate(words):
                frame = words[at_word + 1 : at_word + 5 : 3]
                if frame == [_KERNEL_CS, _KERNEL_DS] and self._is_code(word):
                    trace.append(self.symbolize(word))
                elif self._is_return_address(word):
                    trace.append("? " + self._caller(word))
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

    def _stack(self, at: int) -> list[int]:
        """The words from ``at`` to the stack's end: a page that is not mapped, or its size."""
        words = []
        for address in range(at, (at | _STACK_SIZE - 1) + 1, 8):
            try:
                words.append(self._memory.read_u64(address))
            except GuestMemoryError:
                break
        return words

    def _is_return_address(self, address: int) -> bool:
        if not self._is_code(address):
            return False
        if self._image.arch == "arm64":
            return True
        before = self._memory.read(address - 7, 7)
        direct = before[2] == 0xE8
        # call through a register or memory: FF /2 with 2 to 7 bytes
        indirect = any(before[at] == 0xFF and before[at + 1] >> 3 & 7 == 2 for at in range(6))
        return direct or indirect

    def _is_code(self, address: int) -> bool:
        """Whether the kernel's code, or a module's, is at ``address``."""
        if self._image.is_code(address):
            return True
        return address >= _KERNEL and self._memory.is_executable(address)
