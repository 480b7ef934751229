"""The instruction decoder of x86-64: where an instruction ends and where its parts lie.

It answers what the kernel's decoder (arch/x86/lib/insn.c) answers and nothing more: no mnemonics,
no operands.
"""

from __future__ import annotations

from kprobesim.arch.x86_64.constants import MAX_INSN_LENGTH
from kprobesim.arch.x86_64.opcodes import (
    EMULATE_PREFIXES,
    ESCAPE,
    EVEX_MAPS,
    GROUP,
    IMMEDIATE_MASK,
    IMMEDIATE_SIZE,
    INVALID,
    LEGACY_PREFIX,
    MODRM,
    MOFFS,
    ONE_BYTE,
    PREFIX_NUMBER,
    REGISTERS_ONLY,
    REGS_EXIST,
    REGS_SHIFT,
    REX_PREFIX,
    SPECIAL,
    THREE_BYTE,
    TWO_BYTE,
    VEX_MAPS,
    VEX_PREFIX,
)

__all__ = ["HEAD", "Code", "Insn", "Undecodable", "decode", "length", "length_by_head"]

Code = bytes | bytearray | memoryview

_LEGACY, _VEX2, _VEX3, _EVEX = range(4)
_ENCODINGS = (None, "vex2", "vex3", "evex")
_WORD, _DOUBLE, _QUAD = range(3)
_BYTES = (2, 4, 8)
_MAX_PREFIXES = 4
_SOME_REGS = GROUP | REGS_EXIST

# Bytes after ModR/M, by its value: the displacement, plus the SIB byte.
_AFTER_MODRM = tuple(
    (0, 1, 4, 0)[modrm >> 6]
    + (4 if modrm & 0xC7 == 0x05 else 0)
    + (1 if modrm & 7 == 4 and modrm < 0xC0 else 0)
    for modrm in range(256)
)


class Undecodable(Exception):
    """Bytes that are no instruction, or not all of one."""


class Insn:
    """One decoded instruction.

    All offsets count from its first byte. ``prefixes`` are the legacy prefixes in order, ``rex``
    and ``vex`` (``"vex2"``, ``"vex3"``, ``"evex"``) the later ones. ``opcode`` is as the kernel
    sees it: with its ``0F`` escapes, but the single byte after a VEX or EVEX prefix. ``modrm`` and
    ``sib`` are ``None`` where absent. ``imm`` is sign-extended from its own size, and 0 without
    one; the two immediates of ENTER count as one of three bytes. ``opnd_bytes`` and
    ``addr_bytes`` are the sizes that the prefixes ask for.
    """

    __slots__ = (
        "addr_bytes",
        "disp_offset",
        "disp_size",
        "emulate_prefix",
        "imm",
        "imm_offset",
        "imm_size",
        "length",
        "modrm",
        "opcode",
        "opnd_bytes",
        "prefixes",
        "raw",
        "rex",
        "sib",
        "vex",
    )

    raw: bytes
    length: int
    emulate_prefix: bool
    prefixes: bytes
    rex: int
    vex: str | None
    opcode: bytes
    modrm: int | None
    sib: int | None
    disp_offset: int
    disp_size: int
    imm_offset: int
    imm_size: int
    imm: int
    addr_bytes: int
    opnd_bytes: int

    def __repr__(self) -> str:
        return f"<Insn {self.raw.hex(' ')}>"

    @property
    def reg(self) -> int:
        """The three ``reg`` bits of ModR/M (0 without one): the opcode extension of a group."""
        return (self.modrm or 0) >> 3 & 7

    @property
    def rm_register(self) -> int:
        """Hardware number, with REX.B, of the register that ModR/M.rm names."""
        return (self.modrm or 0) & 7 | (self.rex & 1) << 3

    @property
    def is_register_form(self) -> bool:
        """Whether the ModR/M operand is a register."""
        return self.modrm is not None and self.modrm >= 0xC0

    @property
    def is_rip_relative(self) -> bool:
        """Whether the operand is in memory, at a distance from the next instruction."""
        return self.modrm is not None and self.modrm & 0xC7 == 0x05 and self.disp_size == 4

    @property
    def disp(self) -> int:
        """The displacement of the memory operand, sign-extended; 0 without one."""
        end = self.disp_offset + self.disp_size
        return int.from_bytes(self.raw[self.disp_offset : end], "little", signed=True)


#: Where the parts of an instruction are, counted from its first byte: the end of the legacy
#: prefixes, the first opcode byte, the end of the opcode, the end of ModR/M and SIB, the end of the
#: displacement, the end of the instruction; then the attributes, REX, the encoding, the operand
#: size (as an index) and the address size.
_Layout = tuple[int, int, int, int, int, int, int, int, int, int, int]

# Layouts are the same for the same first bytes: those that one byte decides, and those that three
# do. A kernel's text has a few thousand; what would be more is no text.
_BY_FIRST_BYTE: list[_Layout | None] = [None] * 256
_BY_HEAD: dict[bytes, _Layout] = {}
HEAD = 3
_MOST_HEADS = 1 << 16
_MAY_BE_PREFIX = b"\x0f\x0b"  # UD2, or the start of an emulate prefix


def _remembered(code: Code, offset: int) -> _Layout:
    """The layout of the instruction at ``offset``, kept for the next one with the same head.

    Raises IndexError if ``code`` ends too early.
    """
    layout = _walk(code, offset)
    head = bytes(code[offset : offset + HEAD])
    opcode_end, modrm_end, attr = layout[2], layout[3], layout[6]
    decisive = opcode_end
    if attr & MODRM and not attr & REGISTERS_ONLY:
        # A SIB byte decides only without a displacement: of its base 5 it has one all the same.
        has_base = modrm_end - opcode_end == 2 and head[opcode_end : opcode_end + 1] < b"\x40"
        decisive = modrm_end if has_base else opcode_end + 1
    if decisive == 1:
        _BY_FIRST_BYTE[head[0]] = layout
    elif decisive <= len(head) and not head.startswith(_MAY_BE_PREFIX):
        if len(_BY_HEAD) >= _MOST_HEADS:
            _BY_HEAD.clear()
        _BY_HEAD[head] = layout
    return layout


def _walk(code: Code, offset: int) -> _Layout:
    """Find the layout, part by part."""
    at = offset
    byte = code[at]
    attr = ONE_BYTE[byte]
    at += 1
    rex = 0
    encoding = _LEGACY
    operand = _DOUBLE
    address = 8
    prefix = 0
    prefixes_end = opcode_at = offset
    if attr & SPECIAL:
        if attr & LEGACY_PREFIX:
            seen = set()
            while attr & LEGACY_PREFIX:
                seen.add(byte)
                last = byte
                byte = code[at]
                attr = ONE_BYTE[byte]
                at += 1
                if at - offset > MAX_INSN_LENGTH:
                    raise Undecodable("nothing but prefixes")
            # The kernel's decoder has room for four different ones.
            if len(seen) > _MAX_PREFIXES:
                raise Undecodable(f"{len(seen)} different prefixes, more than {_MAX_PREFIXES}")
            prefix = PREFIX_NUMBER.get(last, 0)
            if 0x66 in seen:
                operand = _WORD
            if 0x67 in seen:
                address = 4
            prefixes_end = opcode_at = at - 1
        if attr & REX_PREFIX:
            rex = byte
            if rex & 8:
                operand = _QUAD
            byte = code[at]
            attr = ONE_BYTE[byte]
            opcode_at = at
            at += 1
            if attr & (LEGACY_PREFIX | REX_PREFIX):
                # The processor ignores a REX that is not last; nothing sane is encoded like this.
                raise Undecodable("a REX prefix that is not the last prefix")
        if attr & ESCAPE:
            byte = code[at]
            attr = TWO_BYTE[prefix][byte]
            at += 1
            if attr & ESCAPE:
                attr = THREE_BYTE[byte][prefix][code[at]]
                at += 1
        elif attr & VEX_PREFIX:
            if byte == 0xC5:
                encoding, opcode_map, prefix = _VEX2, 1, code[at] & 3
                at += 1
            elif byte == 0xC4:
                encoding, opcode_map, prefix = _VEX3, code[at] & 0x1F, code[at + 1] & 3
                at += 2
            else:
                encoding, opcode_map, prefix = _EVEX, code[at] & 7, code[at + 1] & 3
                at += 3
            opcode_at = at
            rows = (EVEX_MAPS if encoding == _EVEX else VEX_MAPS).get(opcode_map)
            attr = rows[prefix][code[at]] if rows else INVALID
            at += 1
        if attr & INVALID:
            raise Undecodable("there is no such instruction")
    opcode_end = modrm_end = disp_end = at
    if attr & REGISTERS_ONLY:
        at = modrm_end = disp_end = at + 1
    elif attr & MODRM:
        modrm = code[at]
        at += 1 + _AFTER_MODRM[modrm]
        if modrm & 7 == 4 and modrm < 0xC0:
            modrm_end = opcode_end + 2
            if modrm < 0x40 and code[opcode_end + 1] & 7 == 5:
                at += 4
        else:
            modrm_end = opcode_end + 1
        disp_end = at
        if attr & _SOME_REGS and not attr >> REGS_SHIFT + (modrm >> 3 & 7) & 1:
            if attr & REGS_EXIST:
                raise Undecodable("there is no such instruction")
            attr = MODRM
    immediate = attr & IMMEDIATE_MASK
    if immediate:
        size = address if immediate == MOFFS else IMMEDIATE_SIZE[immediate][operand]
        if size < 0:
            raise Undecodable("a far pointer with a 64-bit offset")
        at += size
    return (
        prefixes_end - offset,
        opcode_at - offset,
        opcode_end - offset,
        modrm_end - offset,
        disp_end - offset,
        at - offset,
        attr,
        rex,
        encoding,
        operand,
        address,
    )


def _checked(code: Code, offset: int, size: int) -> int:
    """The ``size`` of an instruction at ``offset``, if it is one."""
    if size > MAX_INSN_LENGTH:
        raise Undecodable(f"longer than {MAX_INSN_LENGTH} bytes")
    if offset + size > len(code):
        raise Undecodable("the bytes end inside an instruction")
    return size


def _emulate_prefix(code: Code, offset: int) -> int:
    """The size of a hypervisor's emulate prefix, which an instruction may stand behind."""
    if code[offset] == 0x0F and bytes(code[offset : offset + 5]) in EMULATE_PREFIXES:
        return 5
    return 0


def length(code: Code, offset: int = 0) -> int:
    """Length in bytes of the instruction at ``offset``; raises :class:`Undecodable`.

    >>> length(bytes.fromhex("4889e5c3"))
    3
    """
    try:
        known = _BY_FIRST_BYTE[code[offset]] or _BY_HEAD.get(bytes(code[offset : offset + HEAD]))
        if known is not None and offset + known[5] <= len(code):
            return known[5]
        before = _emulate_prefix(code, offset)
        size = before + _remembered(code, offset + before)[5]
    except IndexError:
        raise Undecodable("the bytes end inside an instruction") from None
    return _checked(code, offset, size)


def length_by_head(head: bytes) -> int:
    """The length of every instruction that starts with ``head``, its first three bytes.

    0 if more bytes decide it, or none starts so.
    """
    if head not in _BY_HEAD:
        try:
            _remembered(head.ljust(HEAD + MAX_INSN_LENGTH, b"\0"), 0)
        except Undecodable:
            return 0
    known = _BY_FIRST_BYTE[head[0]] or _BY_HEAD.get(head)
    return 0 if known is None else known[5]


def decode(code: Code, offset: int = 0) -> Insn:
    """Decode the instruction at ``offset``; raises :class:`Undecodable`.

    >>> decode(bytes.fromhex("48 83 3d 10 00 00 00 7f")).disp_offset
    3
    """
    try:
        before = 0
        known = _BY_FIRST_BYTE[code[offset]] or _BY_HEAD.get(bytes(code[offset : offset + HEAD]))
        if known is None:
            before = _emulate_prefix(code, offset)
            known = _remembered(code, offset + before)
        (
            prefixes_end,
            opcode_at,
            opcode_end,
            modrm_end,
            disp_end,
            end,
            attr,
            rex,
            encoding,
            operand,
            address,
        ) = known
    except IndexError:
        raise Undecodable("the bytes end inside an instruction") from None
    insn = Insn()
    insn.length = _checked(code, offset, before + end)
    whole = bytes(code[offset : offset + before + end])
    raw = whole[before:] if before else whole
    insn.raw = whole
    insn.emulate_prefix = before > 0
    insn.prefixes = raw[:prefixes_end]
    insn.rex = rex
    insn.vex = _ENCODINGS[encoding]
    insn.opcode = raw[opcode_at:opcode_end]
    insn.modrm = raw[opcode_end] if attr & MODRM else None
    insn.sib = raw[opcode_end + 1] if modrm_end - opcode_end == 2 else None
    insn.disp_offset = before + modrm_end
    insn.disp_size = disp_end - modrm_end
    insn.imm_offset = before + disp_end
    insn.imm_size = end - disp_end
    insn.imm = int.from_bytes(raw[disp_end:], "little", signed=True) if end > disp_end else 0
    insn.addr_bytes = address
    insn.opnd_bytes = _vector_operand(raw, opcode_at, encoding) or _BYTES[operand]
    return insn


def _vector_operand(raw: bytes, opcode_at: int, encoding: int) -> int:
    """8 where VEX.W or EVEX.W asks for it, else 0."""
    if encoding == _VEX3:
        return 8 if raw[opcode_at - 1] & 0x80 else 0
    if encoding == _EVEX:
        return 8 if raw[opcode_at - 2] & 0x80 else 0
    return 0
