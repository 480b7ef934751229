"""The guest's random numbers: RDRAND and RDSEED, the same in every run (x86-64).

Unicorn answers both with the host's random numbers. It has no hook for them, so the places where
they may be are hooked as code: in the image, in a slot, in code that the host writes.
"""

from __future__ import annotations

import re

from kprobesim.machine.cpu import Cpu
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.text import KernelText
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.watched_code import WatchedCode
from kprobesim.sizes import MASK64

__all__ = ["Randomness"]

_READS = re.compile(rb"\x0f\xc7[\xf0-\xff]")  # group 9 with a register: RDRAND /6, RDSEED /7
_RDPID = 0xF3  # the prefix that makes a /7 another instruction
_OPERAND_SIZE, _REX = 0x66, 0x40
_CARRY = 1
_ARITHMETIC = 0x8D5  # OF, SF, ZF, AF, PF, CF


class Randomness(WatchedCode):
    """``state`` decides all numbers to come."""

    def __init__(self, engine: Engine, cpu: Cpu, text: KernelText, memory: HostAccess) -> None:
        super().__init__(engine)
        self.state = 0
        self._cpu = cpu
        self._memory = memory
        self._see_pokes(text)

    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Hook what may be a RDRAND or RDSEED in ``code``, which was put at ``address``."""
        for found in _READS.finditer(code):
            start = found.start()
            self._hook(address + start)
            # What looks like a prefix may be one: where no instruction begins no hook is called.
            while start and (code[start - 1] == _OPERAND_SIZE or code[start - 1] & 0xF0 == _REX):
                start -= 1
                self._hook(address + start)

    def _install(self, place: int) -> int:
        return self._engine.hooks.on_code(place, self._read)

    def _read(self, address: int, size: int) -> None:
        """Do the instruction at ``address``, if it is one."""
        code = self._memory.read(address, size)
        at = code.find(b"\x0f\xc7")
        prefixes = code[: max(at, 0)]
        if at < 0 or size != at + 3 or code[at + 2] < 0xF0 or _RDPID in prefixes:
            return
        rex = next((prefix for prefix in prefixes if prefix & 0xF0 == _REX), 0)
        register = code[at + 2] & 7 | (rex & 1) << 3
        words, value = self._engine.words, self._next()
        if not rex & 8:
            if _OPERAND_SIZE in prefixes:
                value = words[register] & ~0xFFFF | value & 0xFFFF
            else:
                value &= 0xFFFF_FFFF
        words[register] = value
        flags = self._cpu.read_flags()
        self._cpu.write_flags(flags & ~_ARITHMETIC | _CARRY)
        self._engine.write_pc(address + size)

    def _next(self) -> int:
        """SplitMix64."""
        self.state = self.state + 0x9E37_79B9_7F4A_7C15 & MASK64
        value = self.state
        value = (value ^ value >> 30) * 0xBF58_476D_1CE4_E5B9 & MASK64
        value = (value ^ value >> 27) * 0x94D0_49BB_1331_11EB & MASK64
        return value ^ value >> 31
