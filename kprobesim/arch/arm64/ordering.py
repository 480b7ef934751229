"""Barriers, releases and atomics of ARM64, told from their words (Arm ARM, C6.2 and B2.3)."""

from __future__ import annotations

from kprobesim.arch.ordering import Ordering

__all__ = ["ordering"]

# (Mask, value, what it is), the first that fits.
_CLASSES = (
    # DMB and DSB: the two low bits of CRm are the kind of accesses: 1 loads, 2 stores, 3 both.
    (0xFFFF_F3FF, 0xD503_32BF, Ordering.STORES),  # DMB ..ST
    (0xFFFF_F3FF, 0xD503_33BF, Ordering.FULL),  # DMB
    (0xFFFF_F2FF, 0xD503_329F, Ordering.FULL),  # DSB and DSB ..ST, which waits for the stores
    (0xFFFF_F3FF, 0xD503_323F, Ordering.FULL),  # DSB ..nXS
    # Exclusives, ordered loads and stores, compare and swap: bit 23 o2, 22 L, 21 o1, 15 o0.
    (0x3FE0_8000, 0x0880_8000, Ordering.RELEASE),  # STLR
    (0x3FE0_8000, 0x0880_0000, Ordering.RELEASE),  # STLLR
    (0x3FE0_0000, 0x08C0_0000, Ordering.ACQUIRE),  # LDAR and LDLAR
    (0x3FA0_8000, 0x08A0_8000, Ordering.ATOMIC_RELEASE),  # CASL and CASAL
    (0x3FA0_8000, 0x08A0_0000, Ordering.ATOMIC),  # CAS and CASA
    (0xBFA0_FC00, 0x0820_FC00, Ordering.ATOMIC_RELEASE),  # CASPL and CASPAL
    (0xBFA0_FC00, 0x0820_7C00, Ordering.ATOMIC),  # CASP and CASPA
    (0x3FC0_8000, 0x0800_8000, Ordering.ATOMIC_RELEASE),  # STLXR and STLXP
    (0x3FC0_8000, 0x0800_0000, Ordering.ATOMIC),  # STXR and STXP
    # Atomics of LSE: bit 23 A, 22 R. LDAPR lies among them and is a load.
    (0x3FFF_FC00, 0x38BF_C000, Ordering.PLAIN),  # LDAPR
    (0x3F60_0C00, 0x3860_0000, Ordering.ATOMIC_RELEASE),
    (0x3F60_0C00, 0x3820_0000, Ordering.ATOMIC),
    (0x3FE0_0C00, 0x1900_0000, Ordering.RELEASE),  # STLUR
)


def ordering(code: bytes) -> Ordering:
    """What the instruction at the beginning of ``code`` is."""
    word = int.from_bytes(code[:4], "little")
    for mask, value, kind in _CLASSES:
        if word & mask == value:
            return kind
    return Ordering.PLAIN
