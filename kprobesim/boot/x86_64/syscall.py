"""SYSCALL (AMD64 manual volume 3): without a hook it does nothing in Unicorn."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.x86_64.exceptions import SYSCALL
from kprobesim.boot.x86_64.state import HF_CPL, HF_CS32, HF_CS64, HF_SS32, X86State
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import MASK64

__all__ = ["make_syscall"]

_SIZE = 2  # of the instruction
_KEPT = ~0x10000  # RF is cleared
_CODE = 0x00AF_9B00
_DATA = 0x00CF_9300
_LIMIT = 0xFFFF_FFFF


def make_syscall(engine: Engine, state: X86State, counts: list[int]) -> Callable[[], None]:
    """The callback for the engine's SYSCALL hook, to 64-bit ring 0; it counts in ``counts``."""
    words, read_flags, write_flags = engine.words, engine.read_flags, engine.write_flags
    star, lstar = state.msr["star"], state.msr["lstar"]
    cstar, fmask = state.msr["cstar"], state.msr["fmask"]

    def syscall() -> None:
        counts[SYSCALL] += 1
        flags = read_flags()
        words[1] = words[16] + _SIZE
        words[11] = flags & _KEPT
        selector = star.value >> 32 & 0xFFFC
        mode = state.hflags
        target = lstar.value if mode & HF_CS64 else cstar.value
        state.cs_selector = selector
        state.cs_base, state.cs_limit, state.cs_flags = 0, _LIMIT, _CODE
        state.ss_selector = selector + 8
        state.ss_base, state.ss_limit, state.ss_flags = 0, _LIMIT, _DATA
        state.hflags = mode & ~HF_CPL | HF_CS64 | HF_CS32 | HF_SS32
        write_flags(flags & ~fmask.value & _KEPT | 2)
        words[16] = (target - _SIZE) & MASK64  # Unicorn adds the size

    return syscall
