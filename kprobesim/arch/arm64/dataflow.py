"""``dataflow()``: which registers an ARM64 instruction's address, value and way depend on.

For the dependencies that order memory (Arm ARM, B2.3: address, data and control dependencies), so
what is not known counts as depending on everything (Arm ARM, C4.1: the encoding's groups).
Registers are bits of a number: X0 to X30, the stack pointer, the flags, V0 to V31.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EVERYTHING", "Dataflow", "bits_of", "dataflow"]

_SP = 1 << 31
_FLAGS = 1 << 32
_V0 = 40  # the bit of V0
_X30 = 1 << 30
EVERYTHING = (1 << _V0 + 32) - 1
"""All registers."""


class Dataflow(NamedTuple):
    """What an instruction does with registers.

    Attributes:
        addresses: Those that say where in memory.
        sources: Those whose values go into what it computes or stores.
        computed: Those that it writes, of ``addresses`` and ``sources``.
        loaded: Those that it writes, of memory.
        decides: Those that say which instruction is next.
        second: Of those that it loads, what the second access of a pair is for.
    """

    addresses: int = 0
    sources: int = 0
    computed: int = 0
    loaded: int = 0
    decides: int = 0
    second: int = 0


_UNKNOWN = Dataflow(EVERYTHING, EVERYTHING, EVERYTHING, EVERYTHING, EVERYTHING)
_NOTHING = Dataflow()


def dataflow(word: int) -> Dataflow:
    """That of the instruction ``word``."""
    group = word >> 25 & 0xF
    if group & 0b1110 == 0b1000:
        return _immediate(word)
    if group & 0b1110 == 0b1010:
        return _branch_or_system(word)
    if group & 0b0101 == 0b0100:
        return _memory(word)
    if group & 0b0111 == 0b0101:
        return _registers(word)
    if group & 0b0111 == 0b0111:
        return _vectors(word)
    return _UNKNOWN


def bits_of(registers: int) -> tuple[int, ...]:
    """The numbers of the bits that are set."""
    return tuple(at for at in range(registers.bit_length()) if registers >> at & 1)


def _x(word: int, at: int) -> int:
    """The register in five bits of the word, where 31 is zero."""
    number = word >> at & 31
    return 0 if number == 31 else 1 << number


def _sp(word: int, at: int) -> int:
    """The register in five bits of the word, where 31 is the stack pointer."""
    return 1 << (word >> at & 31)


def _v(word: int, at: int) -> int:
    return 1 << _V0 + (word >> at & 31)


def _immediate(word: int) -> Dataflow:
    kind = word >> 23 & 7
    if kind in (0, 1):  # ADR, ADRP
        return Dataflow(computed=_x(word, 0))
    if kind in (2, 3):  # ADD, SUB; with tags
        sets = word >> 29 & 1 and kind == 2
        target = _x(word, 0) | _FLAGS if sets else _sp(word, 0)
        return Dataflow(sources=_sp(word, 5), computed=target)
    if kind == 4:  # AND, ORR, EOR, ANDS
        sets = word >> 29 & 3 == 3
        target = _x(word, 0) | _FLAGS if sets else _sp(word, 0)
        return Dataflow(sources=_x(word, 5), computed=target)
    target = _x(word, 0)
    if kind == 5:  # MOVN, MOVZ, MOVK
        return Dataflow(sources=target if word >> 29 & 3 == 3 else 0, computed=target)
    if kind == 6:  # SBFM, BFM, UBFM
        merges = target if word >> 29 & 3 == 1 else 0
        return Dataflow(sources=_x(word, 5) | merges, computed=target)
    return Dataflow(sources=_x(word, 5) | _x(word, 16), computed=target)  # EXTR


def _branch_or_system(word: int) -> Dataflow:
    if word & 0x7C00_0000 == 0x1400_0000:  # B, BL
        return Dataflow(computed=_X30 if word >> 31 else 0)
    if word & 0x7E00_0000 == 0x3400_0000:  # CBZ, CBNZ
        return Dataflow(decides=_x(word, 0))
    if word & 0x7E00_0000 == 0x3600_0000:  # TBZ, TBNZ
        return Dataflow(decides=_x(word, 0))
    if word & 0xFF00_0000 == 0x5400_0000:  # B.cond
        return Dataflow(decides=_FLAGS)
    if word & 0xFE00_0000 == 0xD600_0000:  # BR, BLR, RET, ERET, and their authenticated forms
        links = _X30 if word >> 21 & 3 == 1 else 0
        keyed = _sp(word, 0) if word >> 11 & 1 else 0  # a modifier, or the stack pointer
        target = _x(word, 5) | (_X30 if word >> 21 & 3 == 2 else 0)
        return Dataflow(decides=target | keyed, computed=links)
    if word & 0xFFFF_F01F == 0xD503_201F:  # hints; some of them authenticate X17 or X30
        if word >> 5 & 0x7F in _KEYED_HINTS:
            used = 1 << 16 | 1 << 17 | _X30 | _SP
            return Dataflow(sources=used, computed=1 << 17 | _X30)
        return _NOTHING
    if word & 0xFFFF_F000 == 0xD503_3000 or word & 0xFFF8_F01F == 0xD500_401F:
        return _NOTHING  # barriers; MSR of an immediate
    if word & 0xFFF8_0000 == 0xD508_0000:  # SYS: caches, TLBs, DC ZVA
        return Dataflow(addresses=_x(word, 0))
    if word & 0xFFF0_0000 == 0xD530_0000:  # MRS: of the flags, or what no load decides
        flags = _FLAGS if word >> 5 & 0x7FFF == _NZCV else 0
        return Dataflow(sources=flags, computed=_x(word, 0))
    if word & 0xFFF0_0000 == 0xD510_0000:  # MSR
        flags = _FLAGS if word >> 5 & 0x7FFF == _NZCV else 0
        return Dataflow(sources=_x(word, 0), computed=flags, decides=_x(word, 0))
    return _UNKNOWN


_KEYED_HINTS = frozenset((7, 8, 10, 12, 14, 24, 25, 26, 27, 28, 29, 30, 31))
_NZCV = 0x5A10


def _memory(word: int) -> Dataflow:
    kind = word >> 24 & 0x3F
    if kind == 0x08:
        return _ordered(word)
    vector = word >> 26 & 1
    register = _v if vector else _x
    if kind in (0x0C, 0x0D):  # structures of vectors
        first = word & 31
        values = sum({1 << _V0 + (first + n) % 32 for n in range(4)})
        base = _sp(word, 5)
        moved = _x(word, 16) if word >> 23 & 1 else 0
        if word >> 22 & 1:
            return Dataflow(base | moved, values, base if word >> 23 & 1 else 0, values)
        return Dataflow(base | moved, values, base if word >> 23 & 1 else 0)
    if kind in (0x18, 0x1C):  # literals
        prefetch = word >> 30 == 3 and not vector
        return Dataflow(loaded=0 if prefetch else register(word, 0))
    if kind in (0x28, 0x29, 0x2C, 0x2D):  # pairs
        both = register(word, 0) | register(word, 10)
        base = _sp(word, 5)
        moves = base if word >> 23 & 1 else 0
        if word >> 22 & 1:
            return Dataflow(base, 0, moves, both, second=register(word, 10))
        return Dataflow(base, both, moves)
    if kind == 0x19:
        return _unscaled_ordered(word)
    if kind in (0x38, 0x39, 0x3C, 0x3D):
        return _single(word, vector)
    return _UNKNOWN


def _ordered(word: int) -> Dataflow:
    """Exclusives, LDAR, STLR, CAS."""
    base, rt, rt2, rs = _sp(word, 5), _x(word, 0), _x(word, 10), _x(word, 16)
    o2, load, o1 = word >> 23 & 1, word >> 22 & 1, word >> 21 & 1
    if o2 and not o1:  # LDAR, STLR
        return Dataflow(base, 0, 0, rt) if load else Dataflow(base, rt)
    if o2:  # CAS
        return Dataflow(base, rs | rt, 0, rs)
    if o1 and not word >> 31:  # CASP
        pair = rs | _x(word + (1 << 16), 16)
        return Dataflow(base, pair | rt | _x(word + 1, 0), 0, pair)
    pair = rt | rt2 if o1 else rt
    return Dataflow(base, 0, 0, pair) if load else Dataflow(base, pair, rs)


def _unscaled_ordered(word: int) -> Dataflow:
    """LDAPUR, STLUR."""
    if word >> 21 & 1 or word >> 10 & 3:  # tags; copies of memory
        return _UNKNOWN
    base, rt = _sp(word, 5), _x(word, 0)
    return Dataflow(base, 0, 0, rt) if word >> 22 & 3 else Dataflow(base, rt)


def _single(word: int, vector: int) -> Dataflow:
    """One register: with an offset, a register, a base that moves; atomics of LSE."""
    base = _sp(word, 5)
    value = _v(word, 0) if vector else _x(word, 0)
    opc, size = word >> 22 & 3, word >> 30
    is_load = opc & 1 if vector else opc != 0
    if not vector and size == 3 and opc == 2:  # PRFM, unless it is an atomic
        is_load, value = 1, 0
    if word >> 24 & 1:  # an offset without sign
        return Dataflow(base, 0, 0, value) if is_load else Dataflow(base, value)
    form = word >> 10 & 3
    if word >> 21 & 1:
        if form == 2:  # an offset in a register
            where = base | _x(word, 16)
            return Dataflow(where, 0, 0, value) if is_load else Dataflow(where, value)
        if form == 0 and not vector:  # LDADD and its like, SWP, LDAPR
            if word & 0x3FFF_FC00 == 0x38BF_C000:
                return Dataflow(base, 0, 0, _x(word, 0))
            return Dataflow(base, _x(word, 16), 0, _x(word, 0))
        return _UNKNOWN  # LDRAA and what is newer
    moves = base if form & 1 else 0
    return Dataflow(base, 0, moves, value) if is_load else Dataflow(base, value, moves)


def _registers(word: int) -> Dataflow:
    target, one, two = _x(word, 0), _x(word, 5), _x(word, 16)
    sets = word >> 29 & 1
    kind = word >> 24 & 0x1F
    if kind == 0x0A:  # logical
        sets = word >> 29 & 3 == 3
        return Dataflow(sources=one | two, computed=target | (_FLAGS if sets else 0))
    if kind == 0x0B:  # ADD and SUB, shifted or extended
        extended = word >> 21 & 1
        if extended:
            one = _sp(word, 5)
            target = target if sets else _sp(word, 0)
        return Dataflow(sources=one | two, computed=target | (_FLAGS if sets else 0))
    if kind == 0x1B:  # MADD and its like
        return Dataflow(sources=one | two | _x(word, 10), computed=target)
    if kind != 0x1A:
        return _UNKNOWN
    sub = word >> 21 & 7
    if sub == 0:  # ADC, SBC
        return Dataflow(sources=one | two | _FLAGS, computed=target | (_FLAGS if sets else 0))
    if sub == 2:  # CCMP, CCMN
        second = 0 if word >> 11 & 1 else two
        return Dataflow(sources=one | second | _FLAGS, computed=_FLAGS)
    if sub == 4:  # CSEL and its like
        return Dataflow(sources=one | two | _FLAGS, computed=target)
    if sub == 6:  # one source or two
        if word >> 30 & 1:
            return Dataflow(sources=one | target, computed=target)  # PACIA changes its target
        both = _sp(word, 5) | _sp(word, 16)  # PACGA and those of tags know the stack pointer
        return Dataflow(sources=both, computed=target | (_FLAGS if sets else 0))
    return _UNKNOWN


def _vectors(word: int) -> Dataflow:
    """Whatever fields there may be: what they name is kept, so nothing is ever forgotten."""
    vectors = _v(word, 0) | _v(word, 10) | _v(word, 16) | 1 << _V0 + (word >> 16 & 15)
    for number in range(4):  # TBL has a list of them
        vectors |= 1 << _V0 + ((word >> 5) + number & 31)
    general = _x(word, 0) | _x(word, 5)
    targets = _v(word, 0) | _x(word, 0) | _FLAGS
    return Dataflow(sources=vectors | general | targets, computed=targets)
