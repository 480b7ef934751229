"""The guest's random numbers: RDRAND and RDSEED, the same in every run (x86-64).

Unicorn answers both with the host's random numbers. It has no hook for them, so the places where
they may be are hooked as code: in the image, in a slot, in code that the host writes.
"""

from __future__ import annotations

import re

from kprobesim.machine.system import System
from kprobesim.machine.watched_code import DoneHere
from kprobesim.sizes import MASK64

__all__ = ["Randomness"]

_READS = re.compile(rb"\x0f\xc7[\xf0-\xff]")  # group 9 with a register: RDRAND /6, RDSEED /7
_RDPID = 0xF3  # the prefix that makes a /7 another instruction
_OPERAND_SIZE, _REX = 0x66, 0x40
_CARRY = 1
_ARITHMETIC = 0x8D5  # OF, SF, ZF, AF, PF, CF


class Randomness(DoneHere):
    """``state`` decides all numbers to come."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.state = 0

    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Hook what may be a RDRAND or RDSEED in ``code``, which was put at ``address``."""
        for found in _READS.finditer(code):
            start = found.start()
            self._hook(address + start)
            # What looks like a prefix may be one: where no instruction begins no hook is called.
            while start and (code[start - 1] == _OPERAND_SIZE or code[start - 1] & 0xF0 == _REX):
                start -= 1
                self._hook(address + start)

    def _do(self, address: int, code: bytes) -> bool:
        at = code.find(b"\x0f\xc7")
        prefixes = code[: max(at, 0)]
        if at < 0 or len(code) != at + 3 or code[at + 2] < 0xF0 or _RDPID in prefixes:
            return False
        rex = next((prefix for prefix in prefixes if prefix & 0xF0 == _REX), 0)
        register = code[at + 2] & 7 | (rex & 1) << 3
        vcpu = self._system.vcpu
        words, value = vcpu.words, self._next()
        if not rex & 8:
            if _OPERAND_SIZE in prefixes:
                value = words[register] & ~0xFFFF | value & 0xFFFF
            else:
                value &= 0xFFFF_FFFF
        words[register] = value
        vcpu.cpu.write_flags(vcpu.cpu.read_flags() & ~_ARITHMETIC | _CARRY)
        return True

    def _next(self) -> int:
        """SplitMix64."""
        self.state = self.state + 0x9E37_79B9_7F4A_7C15 & MASK64
        value = self.state
        value = (value ^ value >> 30) * 0xBF58_476D_1CE4_E5B9 & MASK64
        value = (value ^ value >> 27) * 0x94D0_49BB_1331_11EB & MASK64
        return value ^ value >> 31
