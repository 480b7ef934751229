"""x86-64 instructions that Unicorn executes wrong, done here: BLSI, BEXTR, BZHI, PDEP, LOCK NEG.

Found by comparing 1,250 instructions with a CPU (``scripts/compare_instructions.py``). In Unicorn
2.1.4, as in QEMU 5.0, BLSI inverts CF, 32-bit BEXTR takes bits above the operand, BZHI loses the
highest bit and CF where its index is the operand's size or more, 32-bit PDEP deposits above the
operand, and LOCK NEG sets SF and PF by what was in memory before. CPUID offers these instructions,
so that kernels built for x86-64-v3 use them.

As for random numbers, the places where they may be are hooked as code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from itertools import chain

from kprobesim.errors import GuestMemoryError
from kprobesim.machine.memory import GuestMemory, Prot
from kprobesim.machine.system import System
from kprobesim.machine.watched_code import DoneHere
from kprobesim.sizes import MASK64

__all__ = ["BitInstructions"]

_CARRY, _PARITY, _ADJUST, _ZERO, _SIGN, _OVERFLOW = 1, 4, 0x10, 0x40, 0x80, 0x800
_ARITHMETIC = _CARRY | _PARITY | _ADJUST | _ZERO | _SIGN | _OVERFLOW
_FS, _GS, _ADDRESS_SIZE, _OPERAND_SIZE = 0x64, 0x65, 0x67, 0x66
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, _FS, _GS, _ADDRESS_SIZE))
_FS_BASE, _GS_BASE = 0xC000_0100, 0xC000_0101


def _some_of(wanted: Callable[[int], bool]) -> bytes:
    """A set of bytes for a pattern."""
    return b"[" + b"".join(re.escape(bytes([byte])) for byte in range(256) if wanted(byte)) + b"]"


_VEX = re.compile(  # map 0F38, L = 0: without a prefix group 17 /3, BZHI and BEXTR; with F2 PDEP
    rb"\xc4[\x02\x22\x42\x62\x82\xa2\xc2\xe2](?:"
    + _some_of(lambda byte: byte & 7 == 0)
    + rb"(?:\xf3"
    + _some_of(lambda byte: byte >> 3 & 7 == 3)
    + rb"|[\xf5\xf7])|"
    + _some_of(lambda byte: byte & 7 == 3)
    + rb"\xf5)"
)
_LOCK_NEG = re.compile(rb"\xf0\x66?[\x40-\x4f]?[\xf6\xf7][\x18-\x1f\x58-\x5f\x98-\x9f]")

_Result = tuple[int, int, int]
"""The value, the flags, and which flags are set; by (source, second operand, bits)."""


def _blsi(source: int, _other: int, bits: int) -> _Result:
    value = source & -source
    return value, _signs(value, bits) | (_CARRY if source else 0), _ARITHMETIC


def _bextr(source: int, other: int, bits: int) -> _Result:
    start, length = other & 0xFF, other >> 8 & 0xFF
    value = source >> start & (1 << length) - 1
    return value, 0 if value else _ZERO, _ARITHMETIC


def _bzhi(source: int, other: int, bits: int) -> _Result:
    index = other & 0xFF
    value = source & (1 << index) - 1 if index < bits else source
    return value, _signs(value, bits) | (_CARRY if index >= bits else 0), _ARITHMETIC


def _pdep(mask: int, source: int, _bits: int) -> _Result:
    value = 0
    while mask:
        lowest = mask & -mask
        if source & 1:
            value |= lowest
        source >>= 1
        mask ^= lowest
    return value, 0, 0


def _signs(value: int, bits: int) -> int:
    return (0 if value else _ZERO) | (_SIGN if value >> bits - 1 else 0)


_BY_OPCODE: dict[tuple[int, int], Callable[[int, int, int], _Result]] = {
    (0xF3, 0): _blsi,  # group 17, of which only /3 is hooked
    (0xF5, 0): _bzhi,
    (0xF5, 3): _pdep,
    (0xF7, 0): _bextr,
}
"""By opcode and pp (the prefix that VEX stands for)."""


class BitInstructions(DoneHere):
    """Does them in the guest of ``system``, wherever its code holds one."""

    def __init__(self, system: System, memory: GuestMemory) -> None:
        """Watch also what is written to its text."""
        super().__init__(system)
        self._memory = memory

    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Hook what may be one of them in ``code``, which was put at ``address``."""
        for found in chain(_VEX.finditer(code), _LOCK_NEG.finditer(code)):
            start = found.start()
            self._hook(address + start)
            # What looks like a prefix may be one: where no instruction begins no hook is called.
            while start and (code[start - 1] in _PREFIXES or code[start - 1] == _OPERAND_SIZE):
                start -= 1
                self._hook(address + start)

    def _do(self, address: int, code: bytes) -> bool:
        """If its operand cannot be reached, Unicorn does it, and it faults."""
        at = 0
        while at < len(code) and (code[at] in _PREFIXES or code[at] == _OPERAND_SIZE):
            at += 1
        try:
            if _VEX.match(code, at):
                return self._vex(code, at, address)
            return _LOCK_NEG.match(code, at) is not None and self._neg(code, at, address)
        except GuestMemoryError:
            return False

    # -- with VEX --------------------------------------------------------------------------------

    def _vex(self, code: bytes, at: int, address: int) -> bool:
        first, second, opcode, modrm = code[at + 1 : at + 5]
        operation = _BY_OPCODE[opcode, second & 3]
        bits = 64 if second & 0x80 else 32
        words, whole = self._system.vcpu.words, (1 << bits) - 1
        extension = ~first >> 5 & 7  # R, X, B as in REX
        other = ~second >> 3 & 15
        if modrm >> 6 == 3:
            operand = words[modrm & 7 | (extension & 1) << 3]
        else:
            place = self._place(code, at + 4, extension, address, code[:at])
            operand = int.from_bytes(self._memory.read(place, bits // 8), "little")
        target = other if opcode == 0xF3 else modrm >> 3 & 7 | (extension & 4) << 1
        value, flags, changed = operation(operand & whole, words[other] & whole, bits)
        words[target] = value
        if changed:
            self._set_flags(flags, changed)
        return True

    # -- LOCK NEG --------------------------------------------------------------------------------

    def _neg(self, code: bytes, at: int, address: int) -> bool:
        prefixes, rex = set(code[:at]), 0
        at += 1
        if code[at] == _OPERAND_SIZE:
            prefixes.add(_OPERAND_SIZE)
            at += 1
        if code[at] & 0xF0 == 0x40:
            rex = code[at] & 15
            at += 1
        opcode = code[at]
        bits = 8 if opcode == 0xF6 else 64 if rex & 8 else 16 if _OPERAND_SIZE in prefixes else 32
        place = self._place(code, at + 1, rex & 7, address, prefixes)
        before = int.from_bytes(self._memory.read(place, bits // 8), "little")
        value = -before & (1 << bits) - 1
        region = self._memory.region(place)
        if region is None or not region.prot & Prot.W:
            return False
        self._memory.write(place, value.to_bytes(bits // 8, "little"))
        flags = _signs(value, bits) | (_CARRY if before else 0)
        flags |= _ADJUST if before & 15 else 0
        flags |= _OVERFLOW if before == 1 << bits - 1 else 0
        flags |= 0 if (value & 0xFF).bit_count() & 1 else _PARITY
        self._set_flags(flags, _ARITHMETIC)
        return True

    # -- parts -----------------------------------------------------------------------------------

    def _set_flags(self, flags: int, changed: int) -> None:
        cpu = self._system.cpu
        cpu.write_flags(cpu.read_flags() & ~changed | flags)

    def _place(
        self, code: bytes, at: int, extension: int, address: int, prefixes: Collection[int]
    ) -> int:
        """Where the operand is whose ModRM byte is at ``at`` (SDM volume 2, 2.1.5).

        Args:
            code: The instruction, which is at ``address``.
            at: Offset of the ModRM byte.
            extension: R, X and B as in REX.
            address: Of the instruction.
            prefixes: Which ones it has.
        """
        words, modrm = self._system.vcpu.words, code[at]
        mod, rm = modrm >> 6, modrm & 7
        at += 1
        if rm == 4:
            sib = code[at]
            at += 1
            index = sib >> 3 & 7 | (extension & 2) << 2
            place = words[index] << (sib >> 6) if index != 4 else 0
            if sib & 7 == 5 and not mod:
                mod = 2
            else:
                place += words[sib & 7 | (extension & 1) << 3]
        elif rm == 5 and not mod:
            mod, place = 2, address + len(code)
        else:
            place = words[rm | (extension & 1) << 3]
        if mod:
            place += struct.unpack_from("<b" if mod == 1 else "<i", code, at)[0]
        if _ADDRESS_SIZE in prefixes:
            place &= 0xFFFF_FFFF
        for prefix, register in ((_FS, _FS_BASE), (_GS, _GS_BASE)):
            if prefix in prefixes:
                place += self._system.engine.read_msr(register)
        return place & MASK64
