"""Instruction classes as data, and the fields of an instruction word.

The masks are the architecture's (Arm ARM, chapter C4), cut into classes where Linux cuts them
(arch/arm64/include/asm/insn.h); the places where the kernel's cut is not the architecture's are
marked, because which words a real kernel refuses depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "MRS_DAIF",
    "NOP",
    "PATTERNS",
    "STEPPABLE_HINTS",
    "WAITING_HINTS",
    "Pattern",
    "adr_displacement",
    "branch19",
    "branch26",
    "condition",
    "hint",
    "imm14_displacement",
    "matches",
    "name_of",
    "rd",
    "rn",
    "sign_extend",
    "system_register",
    "test_bit",
]


class Pattern(NamedTuple):
    """A class of words: those that equal ``value`` under ``mask``."""

    mask: int
    value: int


PATTERNS: dict[str, Pattern] = {
    # The quarter of the encoding space with branches, exceptions and system instructions.
    "branch_exception_system": Pattern(0x1C00_0000, 0x1400_0000),
    "b": Pattern(0xFC00_0000, 0x1400_0000),
    "bl": Pattern(0xFC00_0000, 0x9400_0000),
    "cbz": Pattern(0x7F00_0000, 0x3400_0000),
    "cbnz": Pattern(0x7F00_0000, 0x3500_0000),
    "tbz": Pattern(0x7F00_0000, 0x3600_0000),
    "tbnz": Pattern(0x7F00_0000, 0x3700_0000),
    "b_cond": Pattern(0xFF00_0010, 0x5400_0000),
    "bc_cond": Pattern(0xFF00_0010, 0x5400_0010),
    "br": Pattern(0xFFFF_FC1F, 0xD61F_0000),
    "blr": Pattern(0xFFFF_FC1F, 0xD63F_0000),
    "ret": Pattern(0xFFFF_FC1F, 0xD65F_0000),
    "br_auth": Pattern(0xFEFF_F800, 0xD61F_0800),
    "blr_auth": Pattern(0xFEFF_F800, 0xD63F_0800),
    "ret_auth": Pattern(0xFFFF_FBFF, 0xD65F_0BFF),
    "eret": Pattern(0xFFFF_FFFF, 0xD69F_03E0),
    "eret_auth": Pattern(0xFFFF_FBFF, 0xD69F_0BFF),
    "exception": Pattern(0xFF00_0000, 0xD400_0000),
    # CFINV, XAFLAG and AXFLAG share this space and are refused with it.
    "msr_imm": Pattern(0xFFF8_F01F, 0xD500_401F),
    "msr_reg": Pattern(0xFFF0_0000, 0xD510_0000),
    "mrs": Pattern(0xFFF0_0000, 0xD530_0000),
    "hint": Pattern(0xFFFF_F01F, 0xD503_201F),
    # Words that use the address they run at.
    "adr": Pattern(0x9F00_0000, 0x1000_0000),
    "adrp": Pattern(0x9F00_0000, 0x9000_0000),
    "ldr_literal": Pattern(0xBF00_0000, 0x1800_0000),
    "ldrsw_literal": Pattern(0xFF00_0000, 0x9800_0000),
    "prfm_literal": Pattern(0xFF00_0000, 0xD800_0000),
    "ldr_simd_literal": Pattern(0x3F00_0000, 0x1C00_0000),
    # LDXR/STXR and their acquire, release and pair forms; CASP lies in the same space.
    "exclusive": Pattern(0x3F80_0000, 0x0800_0000),
    "load_exclusive": Pattern(0x3FC0_0000, 0x0840_0000),
    "store_exclusive": Pattern(0x3FC0_0000, 0x0800_0000),
    # Before 6.15 these ignored bit 23, so LDAR and CASA count as loads, STLR and CAS as stores.
    "load_exclusive_wide": Pattern(0x3F40_0000, 0x0840_0000),
    "store_exclusive_wide": Pattern(0x3F40_0000, 0x0800_0000),
    "mops": Pattern(0x3B20_0C00, 0x1900_0400),
}

NOP = 0xD503_201F
#: The system register field of ``MRS Xt, DAIF``.
MRS_DAIF = 0xDA11

#: CRm:op2 of the hints that behave the same from a slot: NOP, the PAC family's signing and
#: stripping forms, and BTI. What may wait, trap or depend on the branch taken is not among them.
STEPPABLE_HINTS = frozenset(
    {0x00, 0x07, 0x08, 0x0A, 0x18, 0x19, 0x1A, 0x1B, 0x20, 0x22, 0x24, 0x26}
)
#: YIELD, WFE, WFI, SEV, SEVL: the only hints that kernels before 5.8 knew to be more than a NOP.
WAITING_HINTS = frozenset({0x01, 0x02, 0x03, 0x04, 0x05})


def matches(word: int, *names: str) -> bool:
    """Whether ``word`` belongs to one of the named classes of ``PATTERNS``."""
    return name_of(word, names) is not None


def name_of(word: int, names: Iterable[str]) -> str | None:
    """The first of the named classes that ``word`` belongs to, or ``None``."""
    for name in names:
        mask, value = PATTERNS[name]
        if word & mask == value:
            return name
    return None


def sign_extend(value: int, bits: int) -> int:
    """The low ``bits`` of ``value`` as a signed number."""
    sign = 1 << bits - 1
    return (value & (sign << 1) - 1 ^ sign) - sign


def branch26(word: int) -> int:
    """Displacement of B and BL in bytes."""
    return sign_extend(word, 26) * 4


def branch19(word: int) -> int:
    """Displacement of B.cond, CBZ, CBNZ and the literal loads in bytes."""
    return sign_extend(word >> 5, 19) * 4


def imm14_displacement(word: int) -> int:
    """Displacement of TBZ and TBNZ in bytes."""
    return sign_extend(word >> 5, 14) * 4


def adr_displacement(word: int) -> int:
    """The signed 21-bit immediate of ADR (bytes) and ADRP (pages)."""
    return sign_extend(word >> 3 & 0x1F_FFFC | word >> 29 & 3, 21)


def test_bit(word: int) -> int:
    """The bit number that TBZ and TBNZ test, 0 to 63."""
    return word >> 26 & 0x20 | word >> 19 & 0x1F


def condition(word: int) -> int:
    """The 4-bit condition of B.cond."""
    return word & 0xF


def rd(word: int) -> int:
    """Register number in bits 4..0 (Rd or Rt)."""
    return word & 0x1F


def rn(word: int) -> int:
    """Register number in bits 9..5."""
    return word >> 5 & 0x1F


def hint(word: int) -> int:
    """CRm:op2 of a hint."""
    return word >> 5 & 0x7F


def system_register(word: int) -> int:
    """The 16-bit op0:op1:CRn:CRm:op2 field of MRS and MSR."""
    return word >> 5 & 0xFFFF
