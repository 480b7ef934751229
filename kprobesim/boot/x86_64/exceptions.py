"""How an x86-64 CPU enters its handlers: IDT, stack switch, frame (Intel SDM volume 3, 6.14).

Unicorn delivers no exception: it calls a hook and goes on wherever that leaves the registers.
"""

from __future__ import annotations

from typing import Any

from kprobesim.boot.state import Numbers, Saved, fields
from kprobesim.boot.x86_64.state import (
    HF_CPL,
    HF_CS32,
    HF_CS64,
    HF_INHIBIT_IRQ,
    HF_SS32,
    X86State,
)
from kprobesim.boot.x86_64.walk import Walk
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import MASK64

__all__ = ["SYSCALL", "Exceptions", "TripleFault"]

SYSCALL = 256
"""The place of SYSCALL among the counts."""

DOUBLE_FAULT, GENERAL_PROTECTION, PAGE_FAULT = 8, 13, 14
_WITH_CODE = frozenset((8, 10, 11, 12, 13, 14, 17, 21))
_CONTRIBUTORY = frozenset((0, 10, 11, 12, 13))

_TF, _IF, _NT, _RF, _VM = 0x100, 0x200, 0x4000, 0x10000, 0x20000
_CLEARED = ~(_TF | _NT | _RF | _VM)
_INTERRUPT_GATE, _TRAP_GATE = 14, 15
_CODE_LIMIT, _CODE_FLAGS = 0xFFFF_FFFF, 0x00AF_9B00  # 64-bit code, ring 0, present, accessed
_NONE = 0xFFFF_FFFF


class TripleFault(Exception):
    """A fault while delivering a double fault: a real CPU would reset."""

    def __init__(self, vector: int) -> None:
        self.vector = vector
        super().__init__(f"triple fault, first exception {vector}")


class Exceptions(Saved):
    """Delivers exceptions and interrupts to the guest whose registers ``state`` is."""

    SAVED = fields(counts=Numbers(SYSCALL + 1, 63))

    def __init__(self, engine: Engine, state: X86State, walk: Walk) -> None:
        self._engine = engine
        self._state = state
        self._walk = walk
        self._error_code: Any = engine.fields["error_code"]
        self._pending: Any = engine.fields["old_exception"]
        self.counts = [0] * 257
        """How often each vector was delivered, and SYSCALL executed."""

    def deliver(self, vector: int) -> None:
        """Deliver what Unicorn has just raised; raises :class:`TripleFault`."""
        state = self._state
        # Unicorn never clears it, and takes the next fault for a double one.
        self._pending.value = _NONE
        software = vector not in _WITH_CODE and state.is_int.value != 0
        code = self._error_code.value if vector in _WITH_CODE else None
        self._enter(vector, code, software)

    def interrupt(self, vector: int) -> None:
        """Deliver an external interrupt; the guest must have them enabled."""
        self._enter(vector, None, False)

    def _enter(self, vector: int, code: int | None, software: bool) -> None:
        failed = self._try(vector, code, software)
        if failed is None:
            return
        first, (second, second_code) = vector, failed
        if first != DOUBLE_FAULT:
            benign = first not in _CONTRIBUTORY and first != PAGE_FAULT
            if benign and self._try(second, second_code, False) is None:
                return
            if self._try(DOUBLE_FAULT, 0, False) is None:
                return
        raise TripleFault(first)

    def _try(self, vector: int, code: int | None, software: bool) -> tuple[int, int] | None:
        """Enter the handler; or the exception (vector, error code) that this raises itself."""
        state, walk = self._state, self._walk
        selector_code = vector << 3 | 2 | (not software)
        gate = state.idt_base + 16 * vector
        if 16 * vector + 15 > state.idt_limit:
            return GENERAL_PROTECTION, selector_code
        low, high = walk.word(gate), walk.word(gate + 8)
        if low is None or high is None:
            state.cr[2] = gate
            return PAGE_FAULT, 0
        kind = low >> 40 & 15
        cpl = state.hflags & HF_CPL
        if kind not in (_INTERRUPT_GATE, _TRAP_GATE) or (software and (low >> 45 & 3) < cpl):
            return GENERAL_PROTECTION, selector_code
        if not low >> 47 & 1:
            return 11, selector_code
        stack = low >> 32 & 7
        sp = state.gpr[4]
        if stack or cpl:
            # IST 1..7 lie at 36, 44 ... and RSP0 at 4 of the TSS: not aligned.
            at = state.tr_base + (28 + 8 * stack if stack else 4)
            new = self._unaligned(at)
            if new is None:
                state.cr[2] = at
                return PAGE_FAULT, 0
            old_sp, sp = sp, new
        else:
            old_sp = sp
        sp &= ~15
        frame: tuple[int, ...] = (
            state.ss_selector & 0xFFFF,
            old_sp,
            self._engine.read_flags(),
            state.cs_selector & 0xFFFF,
            state.rip,
        )
        if code is not None:
            frame += (code,)
        for value in frame:
            sp -= 8
            if not walk.store(sp, value):
                state.cr[2] = sp
                return PAGE_FAULT, 2
        flags = state.eflags & _CLEARED
        state.eflags = flags & ~_IF if kind == _INTERRUPT_GATE else flags
        if cpl:
            state.ss_selector = 0
            state.ss_base = state.ss_limit = state.ss_flags = 0
        state.cs_selector = low >> 16 & 0xFFFC
        state.cs_base, state.cs_limit, state.cs_flags = 0, _CODE_LIMIT, _CODE_FLAGS
        mode = state.hflags & ~(HF_CPL | HF_INHIBIT_IRQ)
        state.hflags = mode | HF_CS64 | HF_CS32 | HF_SS32
        state.gpr[4] = sp
        state.rip = low & 0xFFFF | low >> 32 & 0xFFFF_0000 | (high & 0xFFFF_FFFF) << 32
        self.counts[vector] += 1
        return None

    def _unaligned(self, address: int) -> int | None:
        first, second = self._walk.word(address & ~7), self._walk.word((address & ~7) + 8)
        if first is None or second is None:
            return None
        shift = 8 * (address & 7)
        return (second << 64 | first) >> shift & MASK64
