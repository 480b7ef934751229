"""Probes on x86-64: bytes in, decisions and bytes out. The kernel's arch/x86/kernel/kprobes."""

from __future__ import annotations

from kprobesim.arch.x86_64.boost import can_boost
from kprobesim.arch.x86_64.boundary import (
    Read,
    boundaries,
    check_boundary,
    is_exception_insn,
    read_insn,
)
from kprobesim.arch.x86_64.constants import INT3, INT3_SIZE, JMP32, JMP32_SIZE, MAX_INSN_SIZE
from kprobesim.arch.x86_64.emulate import emulate_kind, emulator
from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode, length
from kprobesim.arch.x86_64.interfaces import Emulate, Memory, Registers
from kprobesim.arch.x86_64.prepare import ArchInsn, Options, Stepping, prepare, relocate

__all__ = [
    "INT3",
    "INT3_SIZE",
    "JMP32",
    "JMP32_SIZE",
    "MAX_INSN_SIZE",
    "ArchInsn",
    "Emulate",
    "Insn",
    "Memory",
    "Options",
    "Read",
    "Registers",
    "Stepping",
    "Undecodable",
    "boundaries",
    "can_boost",
    "check_boundary",
    "decode",
    "emulate_kind",
    "emulator",
    "is_exception_insn",
    "length",
    "prepare",
    "read_insn",
    "relocate",
]
