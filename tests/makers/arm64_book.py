"""What ARM64 instructions compute, by the pseudo-code of the Arm ARM (DDI 0487, C6), as Python.

:func:`result` takes the text of a line of ``tests/data/arm64_instructions.txt`` and X0, X1 and X2
before it, and gives X0 behind it.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["result", "table"]

_TABLE = Path(__file__).parents[1] / "data/arm64_instructions.txt"
_M64 = (1 << 64) - 1
_N, _Z, _C, _V = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_POLYNOMIALS = {"crc32": 0xEDB8_8320, "crc32c": 0x82F6_3B78}
_LAST_OPERAND_CHANGES = frozenset(
    ("add", "sub", "adds", "subs", "and", "orr", "eor", "bic", "orn", "eon", "ands", "bics")
)
_SIZES = {"b": 8, "h": 16, "w": 32, "x": 64}


def table() -> list[tuple[bytes, str]]:
    """Machine code and text of each."""
    lines = (line.split(" | ") for line in _TABLE.read_text().splitlines())
    return [(bytes.fromhex(code), text) for code, text in lines]


def result(text: str, x0: int, x1: int, x2: int) -> int:
    """X0 behind the instructions of ``text``."""
    registers = {0: x0, 1: x1, 2: x2}
    flags = 0
    for part in text.split("; "):
        name, _, rest = part.partition(" ")
        operands = [each.strip() for each in rest.split(",")] if rest else []
        if name == "mrs":
            registers[0] = flags
        elif name == "msr":
            flags = registers[2] & (_N | _Z | _C | _V)
        elif name in ("paciasp", "autiasp", "bti", "xpaclri", "hint"):
            continue  # hints that a CPU without these features ignores
        else:
            flags = _execute(name, operands, registers, flags)
    return registers[0]


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


def _add(left: int, right: int, carry: int, bits: int) -> tuple[int, int]:
    """AddWithCarry()."""
    mask = (1 << bits) - 1
    whole = left + right + carry
    value = whole & mask
    flags = _N if value >> bits - 1 else 0
    flags |= 0 if value else _Z
    flags |= _C if whole > mask else 0
    flags |= _V if _signed(value, bits) != _signed(left, bits) + _signed(right, bits) + carry else 0
    return value, flags


def _holds(condition: str, flags: int) -> bool:
    n, z, c, v = (bool(flags & bit) for bit in (_N, _Z, _C, _V))
    return {
        "eq": z, "ne": not z, "cs": c, "cc": not c, "mi": n, "pl": not n, "vs": v, "vc": not v,
        "hi": c and not z, "ls": not (c and not z), "ge": n == v, "lt": n != v,
        "gt": n == v and not z, "le": not (n == v and not z),
    }[condition]  # fmt: skip


def _shift(value: int, kind: str, amount: int, bits: int) -> int:
    mask = (1 << bits) - 1
    amount %= bits
    if kind == "lsl":
        return value << amount & mask
    if kind == "lsr":
        return value >> amount
    if kind == "asr":
        return _signed(value, bits) >> amount & mask
    return (value >> amount | value << bits - amount) & mask


def _operand(operands: list[str], registers: dict[int, int], bits: int) -> int:
    """The last operand of a data-processing instruction, shifted or extended."""
    mask = (1 << bits) - 1
    if len(operands) == 3:
        return registers[int(operands[2][1:])] & mask
    value = registers[int(operands[2][1:])]
    kind, _, amount = operands[3].partition(" #")
    count = int(amount or 0)
    if kind in ("lsl", "lsr", "asr", "ror"):
        return _shift(value & mask, kind, count, bits)
    size = _SIZES[kind[3]]
    value &= (1 << size) - 1
    return (_signed(value, size) if kind[0] == "s" else value) << count & mask


def _crc(kind: str, start: int, data: int, bits: int) -> int:
    value = start
    for at in range(bits):
        value ^= data >> at & 1
        value = value >> 1 ^ (_POLYNOMIALS[kind] if value & 1 else 0)
    return value


def _execute(name: str, operands: list[str], registers: dict[int, int], flags: int) -> int:
    """Do one instruction; the flags behind it."""
    bits = 64 if operands[0][0] == "x" else 32
    mask = (1 << bits) - 1
    values = [registers[int(each[1:])] for each in operands if re.fullmatch(r"[xw]\d", each)]
    numbers = [int(each[1:]) for each in operands if each.startswith("#")]
    first, last = [*values[1:], 0, 0][:2]
    a, b = first & mask, last & mask
    if name in ("ccmp", "ccmn"):
        if not _holds(operands[3], flags):
            return numbers[0] << 28
        a, b = values[0] & mask, values[1] & mask
        return _add(a, ~b & mask if name == "ccmp" else b, int(name == "ccmp"), bits)[1]
    carry = int(bool(flags & _C))
    if name in (
        "add",
        "sub",
        "adds",
        "subs",
        "and",
        "orr",
        "eor",
        "bic",
        "orn",
        "eon",
        "ands",
        "bics",
    ):
        other = _operand(operands, registers, bits)
        if name.startswith("add"):
            value, new = _add(a, other, 0, bits)
        elif name.startswith("sub"):
            value, new = _add(a, ~other & mask, 1, bits)
        else:
            inverted = ~other & mask
            value = {
                "and": a & other, "ands": a & other, "orr": a | other, "eor": a ^ other,
                "bic": a & inverted, "bics": a & inverted, "orn": a | inverted, "eon": a ^ inverted,
            }[name]  # fmt: skip
            new = (_N if value >> bits - 1 else 0) | (0 if value else _Z)
        if name.endswith("s"):
            flags = new
    elif name in ("adc", "adcs", "sbc", "sbcs"):
        value, new = _add(a, b if name[0] == "a" else ~b & mask, carry, bits)
        if name.endswith("s"):
            flags = new
    elif name in ("lsl", "lsr", "asr", "ror"):
        value = _shift(a, name, b, bits)
    else:
        value = _others(name, operands, values, numbers, bits, flags)
    registers[int(operands[0][1:])] = value & mask
    return flags


def _others(
    name: str, operands: list[str], values: list[int], numbers: list[int], bits: int, flags: int
) -> int:
    """Multiplications, divisions, bit fields, conditional selections, checksums."""
    mask = (1 << bits) - 1
    first, last = [*values[1:], 0, 0][:2]
    a, b = first & mask, last & mask
    low_a, low_b = first & 0xFFFF_FFFF, last & 0xFFFF_FFFF
    third = values[3] if len(values) > 3 else 0
    if name.startswith("crc32"):
        kind = name[:-1]
        size = _SIZES[name[-1]]
        return _crc(kind, low_a, last & (1 << size) - 1, size)
    if name in ("mul", "madd", "msub"):
        return third - a * b if name == "msub" else third + a * b
    if name in ("smulh", "umulh"):
        return (_signed(a, 64) * _signed(b, 64) if name[0] == "s" else a * b) >> 64
    if name in ("smull", "umull", "smaddl", "umsubl"):
        product = _signed(low_a, 32) * _signed(low_b, 32) if name[0] == "s" else low_a * low_b
        return third - product if "sub" in name else third + product
    if name in ("udiv", "sdiv"):
        if name == "sdiv":
            a, b = _signed(a, bits), _signed(b, bits)
        quotient = abs(a) // abs(b) if b else 0
        return -quotient if (a < 0) != (b < 0) else quotient
    if name == "clz":
        return bits - a.bit_length()
    if name == "cls":
        return bits - 1 - (a ^ (mask if a >> bits - 1 else 0)).bit_length()
    if name == "rbit":
        return int(f"{a:0{bits}b}"[::-1], 2)
    if name.startswith("rev"):
        width = int(name[3:] or bits) // 8
        data = a.to_bytes(bits // 8, "little")
        parts = [data[at : at + width][::-1] for at in range(0, len(data), width)]
        return int.from_bytes(b"".join(parts), "little")
    if name == "extr":
        return (a << bits | b) >> numbers[0]
    if name in ("ubfx", "sbfx"):
        value = a >> numbers[0] & (1 << numbers[1]) - 1
        return _signed(value, numbers[1]) if name[0] == "s" else value
    if name in ("ubfiz", "sbfiz"):
        value = a & (1 << numbers[1]) - 1
        return (_signed(value, numbers[1]) if name[0] == "s" else value) << numbers[0]
    if name in ("bfi", "bfxil"):
        start, width = numbers
        field = (1 << width) - 1
        if name == "bfi":
            return values[0] & ~(field << start) | (first & field) << start
        return values[0] & ~field | first >> start & field
    if name[:3] in ("sxt", "uxt"):
        size = _SIZES[name[3]]
        value = first & (1 << size) - 1
        return _signed(value, size) if name[0] == "s" else value
    condition = _holds(operands[-1], flags)
    if name in ("cset", "csetm"):
        return int(condition) if name == "cset" else -int(condition)
    return a if condition else {"csel": b, "csinc": b + 1, "csinv": ~b, "csneg": -b}[name]
