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

from kprobesim.arch.x86_64.opcode_maps import MAPS

# Attributes of an opcode: the low four bits are the class of the immediate.
IMMEDIATE_MASK = 0x0F
MOFFS = 7
MODRM = 0x10
GROUP = 0x20
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
    "g": MODRM | GROUP | 3 << 16 | 1,
    "G": MODRM | GROUP | 3 << 16 | 3,
    "N": MODRM | 2,
    "D": MODRM | 8,
    "p": LEGACY_PREFIX,
    "r": REX_PREFIX,
    "x": ESCAPE,
    "V": VEX_PREFIX,
    "!": 0x800,
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

#: No instruction. In the maps that depend on a prefix only.
INVALID = 0x800
#: Bits of ModR/M.reg's values: with others there is no immediate, or no instruction.
REGS_SHIFT = 16
REGS_EXIST = 0x1000

# Prefixes that choose among instructions, as the field ``pp`` of VEX and EVEX numbers them.
PREFIX_NUMBER = {0x66: 1, 0xF3: 2, 0xF2: 3}
_PREFIX_NAMES = {"-": 0, "66": 1, "f3": 2, "f2": 3}


def _attributes(mark: str) -> int:
    """Of ``M``, ``M+26`` or ``M/26``."""
    attributes = _MARKS[mark[0]]
    if len(mark) > 1:
        attributes |= sum(1 << REGS_SHIFT + int(reg) for reg in mark[2:])
        attributes |= REGS_EXIST if mark[1] == "/" else GROUP
    return attributes


def _read_maps() -> dict[str, tuple[tuple[int, ...], ...]]:
    """For each map of :mod:`opcode_maps`, by prefix, the attributes of its opcodes."""
    maps: dict[str, tuple[list[int], ...]] = {}
    row: list[int] = []
    for line in MAPS.strip().splitlines():
        if line[0] != " ":
            name, prefix, mark, line = line.split(maxsplit=3)
            absent = 0 if name.startswith("0f") else INVALID
            if name not in maps:
                maps[name] = tuple([absent] * 256 for _ in _PREFIX_NAMES)
            row, attributes = maps[name][_PREFIX_NAMES[prefix]], _attributes(mark)
        for opcode in _ranges(line):
            row[opcode] = attributes
    return {name: tuple(map(tuple, rows)) for name, rows in maps.items()}


_BY_NAME = _read_maps()
# Each by prefix number and opcode.
TWO_BYTE = _BY_NAME["0f"]
THREE_BYTE = {0x38: _BY_NAME["0f38"], 0x3A: _BY_NAME["0f3a"]}
# ... and those of vector instructions by map first.
VEX_MAPS = {int(name[3:]): rows for name, rows in _BY_NAME.items() if name.startswith("vex")}
EVEX_MAPS = {int(name[4:]): rows for name, rows in _BY_NAME.items() if name.startswith("evex")}

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
