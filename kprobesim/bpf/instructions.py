"""The instructions of eBPF, as Documentation/bpf/standardization/instruction-set.rst lists them.

An instruction has 8 bytes; a load of a 64-bit constant takes two places. Jumps count places.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["INSTRUCTION_SIZE", "Instruction", "decode"]

INSTRUCTION_SIZE = 8
LAST_REGISTER = 10
_LAYOUT = struct.Struct("<BBhi")

# Classes, the lowest three bits of the code.
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
#: Load of a 64-bit constant: LD | IMM | DW.
WIDE_LOAD = 0x18
CALL, EXIT = 0x85, 0x95
MODE_MEMORY, MODE_ATOMIC = 0x60, 0xC0
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}  # W H B DW
SIZE_CODES = {size: code for code, size in SIZES.items()}

#: The source register of a call of a function of the object's own, and, before libbpf, of a kfunc.
PSEUDO_CALL = 1


class Instruction(NamedTuple):
    """One place of code: ``struct bpf_insn``."""

    code: int
    destination: int
    source: int
    offset: int
    immediate: int

    @property
    def kind(self) -> int:
        """Its class: LD, LDX, ST, STX, ALU, JMP, JMP32 or ALU64."""
        return self.code & 7

    @property
    def size(self) -> int:
        """Bytes that a load or store moves."""
        return SIZES[self.code & 0x18]

    @property
    def is_wide(self) -> bool:
        """Whether it loads a 64-bit constant, and the next place belongs to it."""
        return self.code == WIDE_LOAD


def decode(data: bytes) -> tuple[Instruction, ...]:
    """The instructions in ``data``, whose length is a multiple of 8."""
    return tuple(
        Instruction(code, registers & 15, registers >> 4, offset, immediate)
        for code, registers, offset, immediate in _LAYOUT.iter_unpack(data)
    )
