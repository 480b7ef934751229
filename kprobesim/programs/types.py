"""What kind of value a program works with: an integer of some width, a truth, a bounded text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kprobesim.sizes import MASK64, signed64

__all__ = ["ALWAYS_KNOWN", "AT_PLACE", "BOOL", "FACTS", "S64", "SIZES", "U64", "Int", "Str", "Type"]

_TASK_COMM_LEN = 16
"""Bytes of a task's name, its NUL among them (include/linux/sched.h)."""


@dataclass(frozen=True)
class Int:
    """An integer of ``bits`` bits, kept as 64 (a signed one sign-extended); one bit is a truth."""

    bits: int
    signed: bool = False

    def __str__(self) -> str:
        return "bool" if self.bits == 1 else f"{'us'[self.signed]}{self.bits}"

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return max(self.bits, 8) // 8

    def narrow(self, value: int) -> int:
        """The integer of this type that the low bits of ``value`` are."""
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value >> (self.bits - 1) else value

    def read(self, word: int) -> int:
        """The integer that a word of 64 bits stands for."""
        return signed64(word) if self.signed else word & MASK64


@dataclass(frozen=True)
class Str:
    """At most ``bound`` bytes, of which the last is NUL."""

    bound: int

    def __str__(self) -> str:
        return f"string[{self.bound}]"

    @property
    def size(self) -> int:
        """Bytes that it takes in a record: whole words."""
        return -(-self.bound // 8) * 8


Type: TypeAlias = "Int | Str"

BOOL = Int(1)
U64 = Int(64)
S64 = Int(64, signed=True)
SIZES = {str(kind): kind for bits in (8, 16, 32, 64) for kind in (Int(bits), Int(bits, True))}
"""By the names that kprobe_events gives them: u8 to u64, s8 to s64."""

FACTS: dict[str, Type] = {
    "comm": Str(_TASK_COMM_LEN),
    "pid": Int(32, signed=True),
    "tgid": Int(32, signed=True),
    "cpu": Int(32),
    "now": U64,
    "caller": U64,
    "stack_id": U64,
    "unwound": U64,
    "here": U64,
    "duration": U64,
    "context": U64,
    "current": U64,
    "ids": U64,
    "per_cpu": U64,
}
"""What is known at a hit beside registers and memory, by name."""
AT_PLACE = ("stack_id", "unwound")
"""Those that ask where the CPU is: numbers for the stack of callers, by frame pointers where there
are any, at a function's entry; or by the unwinder, from any instruction."""
ALWAYS_KNOWN = {"context", "cpu", "here", "ids", "now", "duration", "per_cpu"}
"""The facts that are never faults."""
