"""Opcode tables of 64-bit mode: which bytes follow an opcode, and which opcodes may be boosted.

Each map is 16 rows of 16 marks. Facts from the opcode maps of the SDM (volume 2, appendix A) and
the AMD64 manual; opcodes that do not exist in 64-bit mode keep their 32-bit layout, as in the
kernel's decoder (arch/x86/lib/x86-opcode-map.txt), which decodes ``PUSH ES`` without complaint.

=====  ==========================================  =====  =======================================
``.``  nothing follows                             ``m``  ModR/M
``b``  8-bit immediate                             ``M``  ModR/M, 8-bit immediate
``w``  16-bit immediate                            ``Z``  ModR/M, immediate of operand size <= 4
``z``  immediate of operand size, at most 4 bytes  ``g``  ModR/M, 8-bit immediate if reg is 0 or 1
``v``  immediate of operand size                   ``G``  as ``g``, immediate of operand size <= 4
``R``  32-bit displacement, whatever the prefixes  ``e``  16-bit and 8-bit immediates (ENTER)
``o``  absolute address of address size            ``f``  far pointer
``c``  ModR/M that always names registers          ``r``  REX prefix
``p``  legacy prefix
``x``  escape to another map                       ``V``  VEX or EVEX prefix
=====  ==========================================  =====  =======================================
"""

from __future__ import annotations

from collections.abc import Iterator

# Attributes of an opcode: the low four bits are the class of the immediate.
IMMEDIATE_MASK = 0x0F
MOFFS = 7
MODRM = 0x10
GROUP3 = 0x20
LEGACY_PREFIX = 0x40
REX_PREFIX = 0x80
ESCAPE = 0x100
VEX_PREFIX = 0x200
REGISTERS_ONLY = 0x400
SPECIAL = LEGACY_PREFIX | REX_PREFIX | ESCAPE | VEX_PREFIX

_MARKS = {
    ".": 0,
    "b": 1,
    "w": 2,
    "z": 3,
    "v": 4,
    "e": 5,
    "f": 6,
    "o": MOFFS,
    "R": 8,
    "c": MODRM | REGISTERS_ONLY,
    "m": MODRM,
    "M": MODRM | 1,
    "Z": MODRM | 3,
    "g": MODRM | GROUP3 | 1,
    "G": MODRM | GROUP3 | 3,
    "p": LEGACY_PREFIX,
    "r": REX_PREFIX,
    "x": ESCAPE,
    "V": VEX_PREFIX,
}

# Bytes of an immediate, by class and operand size (2, 4, 8 bytes); -1: no such instruction.
# Class 7 (moffs) depends on the address size instead.
IMMEDIATE_SIZE: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (1, 1, 1),
    (2, 2, 2),
    (2, 4, 4),
    (2, 4, 8),
    (3, 3, 3),
    (4, 6, -1),
    (8, 8, 8),
    (4, 4, 4),
)


def _map(rows: str) -> tuple[int, ...]:
    marks = "".join(rows.split())
    assert len(marks) == 256, len(marks)
    return tuple(_MARKS[mark] for mark in marks)


def _ranges(text: str) -> Iterator[int]:
    """Opcodes of ``"10-17 2e"``."""
    for part in text.split():
        low, _, high = part.partition("-")
        yield from range(int(low, 16), int(high or low, 16) + 1)


ONE_BYTE = _map("""
    mmmmbz.. mmmmbz.x
    mmmmbz.. mmmmbz..
    mmmmbzp. mmmmbzp.
    mmmmbzp. mmmmbzp.
    rrrrrrrr rrrrrrrr
    ........ ........
    ..Vmpppp zZbM....
    bbbbbbbb bbbbbbbb
    MZMMmmmm mmmmmmmm
    ........ ..f.....
    oooo.... bz......
    bbbbbbbb vvvvvvvv
    MMw.VVMZ e.w..b..
    mmmmbb.. mmmmmmmm
    bbbbbbbb RRfb....
    p.pp..gG ......mm
""")

# MOV to and from CRn and DRn (20-23) ignores ModR/M.mod. UD0 (FF) and UD1 (B9) take a ModR/M
# byte, which only some disassemblers know.
TWO_BYTE = _map("""
    mmmm.... .....m.M
    mmmmmmmm mmmmmmmm
    cccc.... mmmmmmmm
    ........ x.x.....
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    MMMMmmm. mm..mmmm
    RRRRRRRR RRRRRRRR
    mmmmmmmm mmmmmmmm
    ...mMmmm ...mMmmm
    mmmmmmmm mmMmmmmm
    mmMmMMMm ........
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
""")

THREE_BYTE_38 = (MODRM,) * 256
THREE_BYTE_3A = (MODRM | 1,) * 256

# AMD's EXTRQ and INSERTQ, 66 or F2 before 0F 78, carry two 8-bit immediates.
SSE4A_OPCODE = 0x78
SSE4A = MODRM | 2


def _vector(layout: tuple[int, ...], opcodes: str, modrm: str = "") -> dict[int, int]:
    """Attributes of the opcodes that a VEX or EVEX prefix may precede."""
    attributes = {opcode: layout[opcode] for opcode in _ranges(opcodes)}
    return attributes | dict.fromkeys(_ranges(modrm), MODRM)


# Opcodes that exist with a VEX prefix, by map; any other is undecodable, as for the kernel.
VEX_MAPS: dict[int, dict[int, int]] = {
    1: _vector(TWO_BYTE, "10-17 28-2f 41-42 44-47 4a-4b 50-77 7c-7f 90-93 98-99 ae c2 c4-c6 d0-fe"),
    2: _vector(
        THREE_BYTE_38,
        "00-0f 13 16-1a 1c-1e 20-25 28-41 45-47 49 4b 50-53 58-5a 5c 5e 6c 72 78-79 8c 8e 90-93 "
        "96-9f a6-b1 b4-bf cb-cd cf d2-d3 da-ef f2-f3 f5-f7",
    ),
    3: _vector(
        THREE_BYTE_3A,
        "00-02 04-06 08-0f 14-19 1d 20-22 30-33 38-39 40-42 44 46 48-4c 5c-63 68-6f 78-7f ce-cf "
        "de-df f0",
    ),
}
# The same for EVEX; maps 5 and 6 (FP16) have no immediates.
EVEX_MAPS: dict[int, dict[int, int]] = {
    1: _vector(
        TWO_BYTE, "10-17 28-2f 51 54-76 7e-7f c2 c4-c6 d1-d6 d8-ef f1-f6 f8-fe", modrm="78-7b"
    ),
    2: _vector(
        THREE_BYTE_38,
        "00 04 0b-0d 10-16 18-2d 30-40 42-47 4c-55 58-5b 62-66 68 70-73 75-7f 83 88-8b 8d 8f-93 "
        "96-a3 a6-af b4-bf c4 c6-c8 ca-cd cf dc-df",
    ),
    3: _vector(
        THREE_BYTE_3A,
        "00-01 03-05 08-0b 0f 14-1b 1d-23 25-27 38-3b 3e-3f 42-44 50-51 54-57 66-67 70-73 c2 ce-cf",
    ),
    5: _vector(TWO_BYTE, "", modrm="00-ff"),
    6: _vector(TWO_BYTE, "", modrm="00-ff"),
}

# The five bytes with which Xen and KVM ask the hypervisor to emulate what follows
# (asm/emulate_prefix.h); they belong to the instruction.
EMULATE_PREFIXES = (b"\x0f\x0bxen", b"\x0f\x0bkvm")

# One-byte opcodes that can never run from a slot with a jump behind them (can_boost, 5.13 on).
UNBOOSTABLE = frozenset(_ranges("62 70-7f 9a cc-ce d6 d8-df e0-e3 e8-e9 eb f0-f4"))
# ... and those that can for some values of ModR/M.reg only (6.9; before, of these, FF /4 only).
BOOSTABLE_GROUPS: dict[int, frozenset[int]] = (
    dict.fromkeys((0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3), frozenset({0, 1, 2, 3, 4, 5, 7}))
    | dict.fromkeys((0xF6, 0xF7), frozenset({0, 2, 3, 4, 5, 6, 7}))
    | {0xFE: frozenset({0, 1}), 0xFF: frozenset({0, 1, 4})}
)
# Second bytes of the 0F map that can.
BOOSTABLE_TWO_BYTE = frozenset(
    _ranges(
        "02-03 06 08-09 1f 20-23 31 40-4f 60-6b 6e-6f 74-77 7e-7f 90-9f a0-a1 a3-a5 a8-a9 ab-ad "
        "af b0-b7 bb-bf c0-c1 c8-cf d1-d3 d5 d8-d9 db-dd df e1-e2 e5 e8-e9 eb-ed ef f1-f3 f5 f8-fa "
        "fc-fe"
    )
)

# The one-byte opcodes that could before 5.13, whatever their ModR/M says.
BOOSTABLE_BEFORE_5_13 = frozenset(range(256)) - frozenset(
    _ranges("2e 62 70-7f 9a c0-c1 cc-ce d0-d3 d6 d8-e3 e8-e9 eb f0-f4 f6-f7 fe-ff")
)
