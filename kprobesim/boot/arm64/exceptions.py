"""Entry to the guest's vectors: Unicorn reports an exception and leaves the rest to its host.

What the CPU does is in the Arm ARM, D1.10 (AArch64.TakeException). The banked registers are words
of Unicorn's CPU struct like the general ones; where they are is measured, not assumed.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable

from kprobesim.arch.arm64.system_registers import (
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    SP_EL0,
    SP_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from kprobesim.boot.state import Numbers, Saved, fields
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["ExceptionEntry", "find_banked"]

_BANKED = {
    "elr": ELR_EL1,
    "sp_el0": SP_EL0,
    "sp_el1": SP_EL1,
    "esr": ESR_EL1,
    "far": FAR_EL1,
    "vbar": VBAR_EL1,
}
_STRUCT_BYTES = 0x2000  # of the CPU's struct, from the general registers on

_SP = 31
_ABORTS = (3, 4)  # Unicorn's numbers: prefetch abort, data abort
_PREFETCH_ABORT = 3
_DAIF = 0x3C0
_EL1H, _SP_BIT = 5, 1
_CURRENT, _LOWER = 0x200, 0x400  # offsets of the vectors: same level with its own stack, EL0
_LOW_WORD = 0xFFFF_FFFF


def find_banked(engine: Engine) -> dict[str, int]:
    """Word numbers of the registers in :data:`_BANKED`, counted from x0."""
    base = ctypes.addressof(engine.words)
    found = {}
    for name, register in _BANKED.items():
        old = engine.read_system(*register)
        snapshots = []
        for mark in (0x5AFE_1234_5670_0000, 0x0BAD_4321_0FED_0800):
            engine.write_system(*register, mark)
            words = array("Q", ctypes.string_at(base, _STRUCT_BYTES))
            snapshots.append({at for at, word in enumerate(words) if word == mark})
        engine.write_system(*register, old)
        places = snapshots[0] & snapshots[1]
        if len(places) != 1:
            raise EngineError(
                f"cannot tell where Unicorn keeps {name} ({len(places)} candidates); "
                "is this a new version of it?"
            )
        found[name] = places.pop()
    return found


class ExceptionEntry(Saved):
    """``deliver(vector)`` enters EL1 for the exception that Unicorn has just reported.

    ``stuck(why)`` is called when that cannot work. For hot paths: a closure over what never moves.
    """

    SAVED = fields(_count=Numbers(1, 63))

    def __init__(self, engine: Engine, stuck: Callable[[str], None]) -> None:
        self.places = find_banked(engine)
        self.state: Words = (ctypes.c_uint64 * (_STRUCT_BYTES // 8)).from_address(
            ctypes.addressof(engine.words)
        )
        self._count = [0]
        self.deliver = self._closure(engine, stuck)

    @property
    def count(self) -> int:
        """How many exceptions were delivered."""
        return self._count[0]

    def _closure(self, engine: Engine, stuck: Callable[[str], None]) -> Callable[[int], None]:
        state, places, pc, daif = self.state, self.places, engine.layout.pc, engine.layout.flags
        elr, esr, far, vbar = (places[name] for name in ("elr", "esr", "far", "vbar"))
        sp_el0, sp_el1 = places["sp_el0"], places["sp_el1"]
        syndrome, address = engine.fields["esr"], engine.fields["far"]
        pstate = engine.fields["pstate"]
        read_flags, count = engine.read_flags, self._count
        write_spsr = engine.system_register(*SPSR_EL1).write

        def deliver(vector: int) -> None:
            count[0] += 1
            old = read_flags() & _LOW_WORD
            at = state[pc]
            if not old & 0xC:
                target = state[vbar] + _LOWER
            else:
                target = state[vbar] + (_CURRENT if old & _SP_BIT else 0)
                if vector == _PREFETCH_ABORT and state[vbar] <= at < state[vbar] + 0x800:
                    stuck(f"the exception vectors at {state[vbar]:#x} cannot be executed")
                    return
                if not state[vbar]:
                    stuck(f"exception {vector} came before there were vectors to handle it")
                    return
            state[elr] = at
            state[esr] = syndrome.value
            if vector in _ABORTS:
                state[far] = address.value
            if not old & _SP_BIT:
                state[sp_el0] = state[_SP]
                state[_SP] = state[sp_el1]
            pstate.value = _EL1H
            state[daif] = _DAIF
            state[pc] = target
            # Last: only the write of a system register makes Unicorn see the new exception level.
            write_spsr(old)

        return deliver
