"""Encodings of ARM64 system registers as (CRn, CRm, op0, op1, op2), which is Unicorn's order.

Arm ARM, D17.
"""

from __future__ import annotations

VMPIDR_EL2 = (0, 0, 3, 4, 5)
SCTLR_EL1 = (1, 0, 3, 0, 0)
CPACR_EL1 = (1, 0, 3, 0, 2)
SCR_EL3 = (1, 1, 3, 6, 0)
HCR_EL2 = (1, 1, 3, 4, 0)
MDSCR_EL1 = (0, 2, 2, 0, 2)
TTBR0_EL1 = (2, 0, 3, 0, 0)
TTBR1_EL1 = (2, 0, 3, 0, 1)
TCR_EL1 = (2, 0, 3, 0, 2)
SPSR_EL1 = (4, 0, 3, 0, 0)
ELR_EL1 = (4, 0, 3, 0, 1)
SP_EL0 = (4, 1, 3, 0, 0)
SP_EL1 = (4, 1, 3, 4, 0)
ESR_EL1 = (5, 2, 3, 0, 0)
FAR_EL1 = (6, 0, 3, 0, 0)
MAIR_EL1 = (10, 2, 3, 0, 0)
VBAR_EL1 = (12, 0, 3, 0, 0)
TPIDR_EL1 = (13, 0, 3, 0, 4)
CNTHCTL_EL2 = (14, 1, 3, 4, 0)
