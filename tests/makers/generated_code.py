"""Random code of both architectures from tables of encodings, for property tests.

A piece is some instructions that can stand anywhere: a branch in it stays in it, what it pushes it
pops. ``buffer`` is the only memory that is written. Register roles: x86-64 r12 is the buffer, rsp
and rbp are left alone; ARM64 x19 is the buffer, x20 the return address.
"""

from __future__ import annotations

import struct

from hypothesis import strategies as st

BUFFER_SIZE = 4096
Piece = bytes
_TEST_RAX = bytes.fromhex(
    "4885c0"
)  # gives the flags values that the instruction before leaves open

# -- x86-64 ----------------------------------------------------------------------------------------

_X86_REGISTERS = st.sampled_from([0, 1, 2, 3, 6, 7, 8, 9, 10, 11])
_X86_ALU = (0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x87, 0x89, 0x03, 0x2B, 0x3B)
_X86_TWO_BYTE = (0xAF, 0xA3, 0xAB, 0xB3, 0xBB, 0xBC, 0xBD, 0xC1, 0xB6, 0xBF, *range(0x40, 0x50))
_X86_ONE_BYTE = tuple(
    bytes.fromhex(code) for code in ("f8", "f9", "f5", "fc", "98", "99", "9e", "9f", "90")
)
_R12_DISP8 = 0x44  # ModRM: SIB and disp8
_SIB_R12 = 0x24


def _rex(reg: int, rm: int, wide: bool = True) -> int:
    return 0x40 | wide << 3 | (reg >> 3) << 2 | rm >> 3


def _modrm(reg: int, rm: int, mod: int = 3) -> int:
    return mod << 6 | (reg & 7) << 3 | rm & 7


@st.composite
def _x86_alu(draw: st.DrawFn) -> Piece:
    reg, rm, wide = draw(_X86_REGISTERS), draw(_X86_REGISTERS), draw(st.booleans())
    return bytes([_rex(reg, rm, wide), draw(st.sampled_from(_X86_ALU)), _modrm(reg, rm)])


@st.composite
def _x86_two_byte(draw: st.DrawFn) -> Piece:
    reg, rm = draw(_X86_REGISTERS), draw(_X86_REGISTERS)
    insn = bytes([_rex(reg, rm), 0x0F, draw(st.sampled_from(_X86_TWO_BYTE)), _modrm(reg, rm)])
    return insn + _TEST_RAX


@st.composite
def _x86_memory(draw: st.DrawFn) -> Piece:
    """Load, store, or read-modify-write at [r12 + disp8], perhaps locked."""
    reg, disp = draw(_X86_REGISTERS), draw(st.integers(0, 15)) * 8
    rex, tail = 0x49 | (reg >> 3) << 2, bytes([_R12_DISP8 | (reg & 7) << 3, _SIB_R12, disp])
    opcode = draw(st.sampled_from([b"\x8b", b"\x89", b"\x01", b"\x33", b"\x0f\xc1", b"\x8a"]))
    lock = b"\xf0" if opcode in (b"\x01", b"\x0f\xc1") and draw(st.booleans()) else b""
    return lock + bytes([rex]) + opcode + tail


@st.composite
def _x86_shift(draw: st.DrawFn) -> Piece:
    rm, kind = draw(_X86_REGISTERS), draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7]))
    return bytes([_rex(0, rm), 0xC1, _modrm(kind, rm), draw(st.integers(0, 63))]) + _TEST_RAX


@st.composite
def _x86_unary(draw: st.DrawFn) -> Piece:
    """NOT, NEG, MUL, IMUL, DIV, IDIV: the last two may well fault."""
    rm, kind = draw(_X86_REGISTERS), draw(st.sampled_from([2, 3, 4, 5, 6, 7]))
    return bytes([_rex(0, rm), 0xF7, _modrm(kind, rm)]) + _TEST_RAX


@st.composite
def _x86_lea_rip(draw: st.DrawFn) -> Piece:
    reg = draw(_X86_REGISTERS)
    displacement = draw(st.integers(-(1 << 20), 1 << 20))
    return bytes([_rex(reg, 0), 0x8D, _modrm(reg, 5, 0)]) + struct.pack("<i", displacement)


@st.composite
def _x86_stack(draw: st.DrawFn) -> Piece:
    """What is pushed, flags too, is popped, perhaps into another register."""
    source, target = draw(_X86_REGISTERS), draw(_X86_REGISTERS)
    push = draw(st.sampled_from([bytes([0x40 | source >> 3, 0x50 | source & 7]), b"\x9c"]))
    pop = bytes([0x40 | target >> 3, 0x58 | target & 7])
    return push + (b"\x9d" if push == b"\x9c" and draw(st.booleans()) else pop)


@st.composite
def _x86_skip(draw: st.DrawFn) -> Piece:
    """A jump of any kind over a piece."""
    body = draw(_x86_alu()) + draw(_x86_alu())
    short = draw(st.sampled_from([*range(0x70, 0x80), 0xE0, 0xE1, 0xE2, 0xE3, 0xEB]))
    if short < 0x80 and draw(st.booleans()):
        return bytes([0x0F, short + 0x10]) + struct.pack("<i", len(body)) + body
    return bytes([short, len(body)]) + body


@st.composite
def _x86_loop(draw: st.DrawFn) -> Piece:
    """MOV ECX, n; a piece that leaves rcx alone; LOOP back."""
    body = bytes([0x48, 0x01, _modrm(0, draw(st.sampled_from([0, 2, 3, 6, 7])))])
    count = struct.pack("<I", draw(st.integers(1, 4)))
    return b"\xb9" + count + body + bytes([0xE2, 0x100 - len(body) - 2])


@st.composite
def _x86_call(draw: st.DrawFn) -> Piece:
    """Call a function of one piece behind a jump, directly or through r11; RET or RET 8."""
    body = draw(_x86_alu())
    pops = draw(st.booleans())
    function = body + (b"\xc2\x08\x00" if pops else b"\xc3")
    over = bytes([0xEB, len(function)])
    if draw(st.booleans()):
        call = b"\xe8" + struct.pack("<i", len(over))
    else:
        lea = b"\x4c\x8d\x1d" + struct.pack("<i", 3 + len(over))
        call = lea + b"\x41\xff\xd3"
    return (b"\x50" if pops else b"") + call + over + function


@st.composite
def _x86_string(draw: st.DrawFn) -> Piece:
    """MOV RDI, R12; MOV ECX, n; REP STOSQ or STOSB."""
    store = draw(st.sampled_from([b"\xf3\x48\xab", b"\xf3\xaa"]))
    return b"\xfc\x4c\x89\xe7\xb9" + struct.pack("<I", draw(st.integers(0, 9))) + store


@st.composite
def _x86_vector(draw: st.DrawFn) -> Piece:
    return bytes.fromhex(
        draw(
            st.sampled_from(
                [
                    "66480f6ec0",  # movq xmm0, rax
                    "66480f7ec2",  # movq rdx, xmm0
                    "660ffec1",  # paddd xmm0, xmm1
                    "660fefc8",  # pxor xmm1, xmm0
                    "c5f877",  # vzeroupper
                    "c5f9fec1",  # vpaddd xmm0, xmm0, xmm1
                    "c5f8c2c800",  # vcmpeqps xmm1, xmm0, xmm0
                    "c4e2f9f7d0",  # shlx rdx, rax, rax
                ]
            )
        )
    )


_X86 = st.one_of(
    _x86_alu(),
    _x86_two_byte(),
    _x86_memory(),
    _x86_shift(),
    _x86_unary(),
    _x86_lea_rip(),
    _x86_stack(),
    _x86_skip(),
    _x86_loop(),
    _x86_call(),
    _x86_string(),
    _x86_vector(),
    st.sampled_from(_X86_ONE_BYTE),
)

# -- ARM64 -----------------------------------------------------------------------------------------

_ARM_REGISTERS = st.integers(0, 15)
_ARM_THREE = (
    *(0x8B000000, 0x0B000000, 0xAB000000, 0xCB000000, 0xEB000000, 0x8A000000, 0xAA000000),
    *(0xCA000000, 0xEA000000, 0x9A000000, 0xBA000000, 0x9AC00800, 0x9AC02000, 0x9AC02400),
    *(0x9B007C00, 0x9A800000, 0x9A800400, 0xDA800000, 0x1AC00C00),
)
_ARM_PLAIN = (
    0xD503201F,
    0xD5033FDF,
    0xD5033BBF,
    0xD53B4200,
    0xD503233F ^ 0x20,
    0x9E670000,
    0x0EA08400,
)


def _words(*words: int) -> Piece:
    return struct.pack(f"<{len(words)}I", *words)


@st.composite
def _arm_three(draw: st.DrawFn) -> Piece:
    d, n, m = draw(_ARM_REGISTERS), draw(_ARM_REGISTERS), draw(_ARM_REGISTERS)
    return _words(draw(st.sampled_from(_ARM_THREE)) | m << 16 | n << 5 | d)


@st.composite
def _arm_memory(draw: st.DrawFn) -> Piece:
    """LDR, STR, LDRB, STRB, LDRSW, SWP, LDADD at x19."""
    t, scaled = draw(_ARM_REGISTERS), draw(st.integers(0, 15))
    word = draw(st.sampled_from([0xF9400000, 0xF9000000, 0x39400000, 0x39000000, 0xB9800000]))
    return _words(word | scaled << 10 | 19 << 5 | t)


@st.composite
def _arm_pair(draw: st.DrawFn) -> Piece:
    """STP to the stack before it, LDP behind it."""
    a, b = draw(_ARM_REGISTERS), draw(_ARM_REGISTERS)
    c, d = draw(_ARM_REGISTERS), draw(_ARM_REGISTERS)
    if c == d:
        d = (c + 1) % 16
    return _words(
        0xA9BF0000 | b << 10 | 31 << 5 | a,  # stp xa, xb, [sp, #-16]!
        0xA8C10000 | d << 10 | 31 << 5 | c,  # ldp xc, xd, [sp], #16
    )


@st.composite
def _arm_address(draw: st.DrawFn) -> Piece:
    """ADR or ADRP of anything."""
    low, high = draw(st.integers(0, 3)), draw(st.integers(0, (1 << 19) - 1))
    return _words(
        draw(st.sampled_from([0x10000000, 0x90000000]))
        | low << 29
        | high << 5
        | draw(_ARM_REGISTERS)
    )


@st.composite
def _arm_skip(draw: st.DrawFn) -> Piece:
    """B, B.cond, CBZ, CBNZ, TBZ, TBNZ over one or two instructions."""
    body = [draw(_arm_three()) for _ in range(draw(st.integers(1, 2)))]
    away, t = len(body) + 1, draw(_ARM_REGISTERS)
    bit = draw(st.integers(0, 63))
    branch = draw(
        st.sampled_from(
            [
                0x14000000 | away,
                0x54000000 | away << 5 | draw(st.integers(0, 15)),
                *(
                    base | away << 5 | t
                    for base in (0xB4000000, 0x34000000, 0xB5000000, 0x35000000)
                ),
                *(
                    base | (bit >> 5) << 31 | (bit & 31) << 19 | away << 5 | t
                    for base in (0x36000000, 0x37000000)
                ),
            ]
        )
    )
    return _words(branch) + b"".join(body)


@st.composite
def _arm_literal(draw: st.DrawFn) -> Piece:
    """LDR or LDRSW of a constant behind a branch. It is an SVC, which takes no probe."""
    load = draw(st.sampled_from([0x58000000, 0x18000000, 0x98000000]))
    value = 0xD4000001 | draw(st.integers(0, 0xFFFF)) << 5
    return _words(load | 2 << 5 | draw(_ARM_REGISTERS), 0x14000003, value, value)


@st.composite
def _arm_call(draw: st.DrawFn) -> Piece:
    """BL or BLR to a function of one piece behind a branch."""
    body = draw(_arm_three())
    if draw(st.booleans()):
        call = _words(0x94000002)
    else:
        call = _words(0x10000000 | 3 << 5 | 16, 0xD63F0000 | 16 << 5)  # adr x16; blr x16
    return call + _words(0x14000003) + body + _words(0xD65F03C0)


_ARM = st.one_of(
    _arm_three(),
    _arm_memory(),
    _arm_pair(),
    _arm_address(),
    _arm_skip(),
    _arm_literal(),
    _arm_call(),
    st.sampled_from([_words(word) for word in _ARM_PLAIN]),
)

# -- both ------------------------------------------------------------------------------------------

_PROLOGUE = {
    "x86_64": bytes.fromhex("4989fc"),  # mov r12, rdi
    "arm64": _words(0xAA0003F3, 0xAA1E03F4),  # mov x19, x0; mov x20, x30
}
_EPILOGUE = {"x86_64": b"\xc3", "arm64": _words(0xD65F0280)}  # ret; ret x20


def functions(arch: str, most: int) -> st.SearchStrategy[bytes]:
    """Code of a function of at most ``most`` bytes, whose argument is the buffer."""
    piece: st.SearchStrategy[Piece] = _X86 if arch == "x86_64" else _ARM
    return (
        st.lists(piece, min_size=1, max_size=14)
        .map(lambda pieces: _PROLOGUE[arch] + b"".join(pieces) + _EPILOGUE[arch])
        .filter(lambda code: len(code) <= most)
    )
