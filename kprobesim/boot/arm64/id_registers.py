"""The ID registers, by which a kernel learns what its CPU can do, where Unicorn's say too little.

Unicorn translates a read of an ID register into its constant, so they are read through a trap:
HCR_EL2.TID3 sends all of ID group 3 (Arm ARM D1.14, "Traps to EL2 of ID registers") to EL2, which
is this board. A kernel reads them some hundred times while it starts, and never again.
"""

from __future__ import annotations

from collections.abc import Mapping

from kprobesim.machine.unicorn.engine import Engine

__all__ = ["HCR_TID3", "PAGES_16K", "IdRegisters"]

HCR_TID3 = 1 << 18

#: A register as (op0, op1, CRn, CRm, op2), and the bits that are others: (mask, value).
Overrides = Mapping[tuple[int, int, int, int, int], tuple[int, int]]

#: ID_AA64MMFR0_EL1.TGran16 = 1: the emulated page walk knows granules of 16 KiB, and the
#: Cortex-A72 whose registers it shows does not.
PAGES_16K: Overrides = {(3, 0, 0, 7, 0): (0xF << 20, 1 << 20)}


class IdRegisters:
    """What the guest reads in the registers of ID group 3."""

    def __init__(self, engine: Engine, overrides: Overrides) -> None:
        self._engine = engine
        self._overrides = overrides

    @staticmethod
    def has(register: tuple[int, int, int, int, int]) -> bool:
        """Whether ``register`` (op0, op1, CRn, CRm, op2) is in ID group 3."""
        op0, op1, crn, crm, _ = register
        return (op0, op1, crn) == (3, 0, 0) and 1 <= crm <= 7

    def read(self, register: tuple[int, int, int, int, int]) -> int:
        """Its value; those that are not allocated read as 0."""
        op0, op1, crn, crm, op2 = register
        mask, value = self._overrides.get(register, (0, 0))
        return self._engine.read_system(crn, crm, op0, op1, op2) & ~mask | value
