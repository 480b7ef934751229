"""Barriers, releases and atomics of ARM64, told from their words (Arm ARM, C6.2 and B2.3)."""

from __future__ import annotations

from kprobesim.arch.ordering import Ordering

__all__ = ["ordering"]

_ATOMIC, _ACQUIRE, _RELEASE = Ordering.ATOMIC, Ordering.ACQUIRE, Ordering.RELEASE
# An atomic that acquires and releases is a barrier: aarch64.cat, "[A]; amo; [L]" in bob.
_BOTH = _ATOMIC | _ACQUIRE | _RELEASE | Ordering.FULL

# (Mask, value, what it is), the first that fits.
_CLASSES = (
    # DMB and DSB: the two low bits of CRm are the kind of accesses: 1 loads, 2 stores, 3 both.
    (0xFFFF_F3FF, 0xD503_31BF, Ordering.LOADS),  # DMB ..LD
    (0xFFFF_F3FF, 0xD503_32BF, Ordering.STORES),  # DMB ..ST
    (0xFFFF_F3FF, 0xD503_33BF, Ordering.FULL),  # DMB
    (0xFFFF_F3FF, 0xD503_319F, Ordering.LOADS),  # DSB ..LD
    (0xFFFF_F2FF, 0xD503_329F, Ordering.FULL),  # DSB and DSB ..ST, which waits for the stores
    (0xFFFF_F3FF, 0xD503_323F, Ordering.FULL),  # DSB ..nXS
    (0xFFFF_F0FF, 0xD503_30DF, Ordering.CONTEXT),  # ISB
    (0xFFFF_FFFF, 0xD69F_03E0, Ordering.CONTEXT),  # ERET
    (0xFFFF_FBFF, 0xD69F_0BFF, Ordering.CONTEXT),  # ERETAA and ERETAB
    (0xFF00_001F, 0xD400_0001, Ordering.CONTEXT),  # SVC
    (0xFF00_001F, 0xD400_0002, Ordering.CONTEXT),  # HVC
    (0xFF00_001F, 0xD400_0003, Ordering.CONTEXT),  # SMC
    (0xFFE0_001F, 0xD420_0000, Ordering.CONTEXT),  # BRK
    # Exclusives, ordered loads and stores, compare and swap: bit 23 o2, 22 L, 21 o1, 15 o0.
    (0x3FE0_8000, 0x0880_8000, _RELEASE),  # STLR
    (0x3FE0_8000, 0x0880_0000, _RELEASE),  # STLLR
    (0x3FE0_0000, 0x08C0_0000, _ACQUIRE),  # LDAR and LDLAR
    (0x3FE0_8000, 0x08E0_8000, _BOTH),  # CASAL
    (0x3FE0_8000, 0x08E0_0000, _ATOMIC | _ACQUIRE),  # CASA
    (0x3FE0_8000, 0x08A0_8000, _ATOMIC | _RELEASE),  # CASL
    (0x3FE0_8000, 0x08A0_0000, _ATOMIC),  # CAS
    (0xBFE0_FC00, 0x0860_FC00, _BOTH),  # CASPAL
    (0xBFE0_FC00, 0x0860_7C00, _ATOMIC | _ACQUIRE),  # CASPA
    (0xBFE0_FC00, 0x0820_FC00, _ATOMIC | _RELEASE),  # CASPL
    (0xBFE0_FC00, 0x0820_7C00, _ATOMIC),  # CASP
    (0x3FC0_8000, 0x0840_8000, Ordering.EXCLUSIVE | _ACQUIRE),  # LDAXR and LDAXP
    (0x3FC0_8000, 0x0840_0000, Ordering.EXCLUSIVE),  # LDXR and LDXP
    (0x3FC0_8000, 0x0800_8000, _ATOMIC | _RELEASE),  # STLXR and STLXP
    (0x3FC0_8000, 0x0800_0000, _ATOMIC),  # STXR and STXP
    # Atomics of LSE: bit 23 A, 22 R; none acquires for WZR or XZR. LDAPR lies among them.
    (0x3FFF_FC00, 0x38BF_C000, Ordering.ACQUIRE_PC),  # LDAPR
    (0x3FE0_0C1F, 0x38E0_001F, _ATOMIC | _RELEASE),
    (0x3FE0_0C1F, 0x38A0_001F, _ATOMIC),
    (0x3FE0_0C00, 0x38E0_0000, _BOTH),
    (0x3FE0_0C00, 0x38A0_0000, _ATOMIC | _ACQUIRE),
    (0x3FE0_0C00, 0x3860_0000, _ATOMIC | _RELEASE),
    (0x3FE0_0C00, 0x3820_0000, _ATOMIC),
    (0x3FE0_0C00, 0x1900_0000, _RELEASE),  # STLUR
    (0x3F20_0C00, 0x1900_0000, Ordering.ACQUIRE_PC),  # LDAPUR, and its signed forms
)


def ordering(code: bytes) -> Ordering:
    """What the instruction at the beginning of ``code`` is."""
    word = int.from_bytes(code[:4], "little")
    for mask, value, kind in _CLASSES:
        if word & mask == value:
            return kind
    return Ordering.PLAIN
