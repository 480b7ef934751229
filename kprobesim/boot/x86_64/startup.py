"""Where a CPU begins that another has started: in real mode (Intel SDM volume 3, 9.1 and 8.4)."""

from __future__ import annotations

from kprobesim.boot.x86_64.state import HF_ADDSEG, X86State
from kprobesim.machine.unicorn.context import Context
from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["Startup"]

_CR0, _SIGNATURE = 0x6000_0010, 0xF00  # cache off; what EDX says of the CPU
_LIMIT, _CODE, _DATA = 0xFFFF, 0x9B00, 0x9300


class Startup:
    """What the registers of an engine are after INIT and SIPI."""

    def __init__(self, engine: Engine, state: X86State, at_reset: Context) -> None:
        """``at_reset`` are all registers of ``engine`` as it was made, ``state`` those in use."""
        self._engine = engine
        self._state = state
        self._at_reset = at_reset
        self._efer = control_words(engine)["efer"]

    def begin(self, page: int) -> None:
        """Let the CPU in the engine stand at the first instruction of physical ``page``."""
        state = self._state
        self._at_reset.restore()
        for number in range(len(state.gpr)):
            state.gpr[number] = 0
        state.gpr[2] = _SIGNATURE
        state.rip = 0
        self._engine.write_flags(2)
        state.cr[:] = (_CR0, 0, 0, 0, 0)
        self._efer.value = 0
        for name in ("es", "cs", "ss", "ds", "fs", "gs"):
            self._set(name, _CODE if name == "cs" else _DATA)
        state.cs_selector, state.cs_base = page << 8, page << 12
        state.gdt_base = state.idt_base = 0
        state.gdt_limit = state.idt_limit = _LIMIT
        state.hflags = HF_ADDSEG

    def _set(self, name: str, flags: int) -> None:
        state = self._state
        setattr(state, f"{name}_selector", 0)
        setattr(state, f"{name}_base", 0)
        setattr(state, f"{name}_limit", _LIMIT)
        setattr(state, f"{name}_flags", flags)
