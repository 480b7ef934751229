"""What instructions of ARM64 do to values, by capstone.

What capstone 5 says of reads and writes is not taken (CMP writes its register there): the mnemonic
tells which operand is the target.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from kprobesim.sizes import MASK64
from kprobesim.why.instruction import (
    Constant,
    Flow,
    Insn,
    Kind,
    Memory,
    Move,
    Place,
    Register,
    make_insn,
    operand_texts,
)

__all__ = ["read_arm64"]

_SP = 31
_LOAD_SIZES = {"b": 1, "h": 2, "w": 4}
_COMPARES = frozenset({"cmp", "cmn", "tst", "ccmp", "ccmn"})
_EXTENDS = frozenset({"sxtw", "sxtb", "sxth", "uxtw", "uxtb", "uxth"})
_SELECTS = {"csel": "", "csinc": "increment", "csinv": "invert", "csneg": "negate"}
_ONE_SOURCE = {"cinc": "increment", "cinv": "invert", "cneg": "negate"}
_NO_TARGET = frozenset(
    {
        "nop",
        "hint",
        "isb",
        "dsb",
        "dmb",
        "msr",
        "prfm",
        "bti",
        "sb",
        "esb",
        "csdb",
        "paciasp",
        "autiasp",
        "tlbi",
        "dc",
        "ic",
        "at",
        "sev",
        "wfe",
        "wfi",
        "yield",
    }
)
_TRAPS = frozenset({"brk", "udf", "hlt"})
_CONDITIONS = frozenset(
    ("hs", "lo", "eq", "ne", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "cs", "cc")
)
_SETS = frozenset({"adds", "subs", "ands", "bics", "negs", "adcs", "sbcs"})


def read_arm64(insn: Any) -> Insn:
    """capstone's ``insn``, with its details."""
    base = insn.mnemonic
    places = [_place(insn, operand, base) for operand in insn.operands]
    condition = ""
    if base.startswith("b."):
        condition = base[2:]
    elif base in _SELECTS or base in _ONE_SOURCE or base in ("cset", "csetm", "ccmp", "ccmn"):
        condition = insn.op_str.rpartition(",")[2].strip()
    return make_insn(
        insn,
        base,
        moves=_moves(insn, base, places),
        flow=_flow(base, places),
        sets_flags=base in _COMPARES or base in _SETS,
        reads_flags=bool(condition) or base in ("adc", "sbc", "adcs", "sbcs"),
        compared=_compared(insn, base, places),
        condition=condition if condition in _CONDITIONS else "",
        stack_change=_stack_change(insn, base, places),
    )


def _compared(insn: Any, base: str, places: list[Place | None]) -> list[tuple[str, Place]]:
    """What it compares, each as the instruction calls it."""
    named = list(zip(operand_texts(insn.op_str), places, strict=False))
    if base in ("cbz", "cbnz"):
        name, place = named[0]
        return [] if place is None else [(name, place), ("0", Constant(0))]
    if base in ("ccmp", "ccmn", "tbz", "tbnz"):
        named = named[:2]
    elif base in _SETS:
        named = named[1:]
    elif base not in _COMPARES:
        return []
    return [(_name(name, place), place) for name, place in named if place is not None]


def _name(text: str, place: Place) -> str:
    """An operand as it is written, but for numbers that are written shifted."""
    if not isinstance(place, Constant):
        return text
    return str(place.value) if place.value < 10 else f"{place.value:#x}"


@cache
def _registers() -> dict[str, Register]:
    found = {f"x{n}": Register(n, 8) for n in range(31)}
    found |= {f"w{n}": Register(n, 4) for n in range(31)}
    return found | {
        "fp": Register(29, 8),
        "lr": Register(30, 8),
        "sp": Register(_SP, 8),
        "wsp": Register(_SP, 4),
    }


def _register(insn: Any, number: int) -> Register | None:
    return _registers().get(insn.reg_name(number) or "")


def _place(insn: Any, operand: Any, base: str) -> Place | None:
    from capstone import arm64_const as c

    if operand.type == c.ARM64_OP_REG:
        if operand.reg in (c.ARM64_REG_XZR, c.ARM64_REG_WZR):
            return Constant(0)
        return _register(insn, operand.reg)
    if operand.type == c.ARM64_OP_IMM:
        value = operand.imm
        if operand.shift.type == c.ARM64_SFT_LSL:
            value <<= operand.shift.value
        return Constant(value & MASK64)
    if operand.type != c.ARM64_OP_MEM:
        return None
    memory = operand.mem
    at, index = _register(insn, memory.base), _register(insn, memory.index)
    scale = 1 << operand.shift.value if operand.shift.type == c.ARM64_SFT_LSL else 1
    displacement = memory.disp
    if insn.writeback and _is_post_indexed(insn):
        displacement = 0
    return Memory(
        None if at is None else at.number,
        None if index is None else index.number,
        scale,
        displacement,
        _access_size(insn, base),
        False,
        index.size if index else 8,
        operand.ext == c.ARM64_EXT_SXTW,
    )


def _is_post_indexed(insn: Any) -> bool:
    return not insn.op_str.endswith("!")


def _access_size(insn: Any, base: str) -> int:
    if base.startswith(("ldp", "stp", "ldnp", "stnp", "ldxp", "stxp")):
        register = _register(insn, insn.operands[0].reg)
        return register.size if register else 8
    stem = base.removesuffix("a").removesuffix("l") if base.startswith(("cas", "swp")) else base
    if base == "ldrsw" or base == "ldursw":
        return 4
    if stem[-1] in "bh" and base not in ("b", "dsb", "isb"):
        return _LOAD_SIZES[stem[-1]]
    names = [_register(insn, o.reg) for o in insn.operands if o.type == 1]
    # A status or a source comes first in exclusive stores.
    if not names:  # a prefetch
        return 8
    register = names[1] if base.startswith(("stxr", "stlxr")) and len(names) > 1 else names[0]
    if register is None:
        name = insn.reg_name(insn.operands[0].reg) or ""
        return {"w": 4, "q": 16, "d": 8, "s": 4}.get(name[:1], 8)
    return register.size


def _flow(base: str, places: list[Place | None]) -> tuple[Flow, int | None, Place | None]:
    last = places[-1] if places else None
    target = last.value if isinstance(last, Constant) else None
    if base == "b":
        return Flow.JUMP, target, None
    if base.startswith("b.") or base in ("cbz", "cbnz", "tbz", "tbnz"):
        return Flow.BRANCH, target, None
    if base == "bl":
        return Flow.CALL, target, None
    if base.startswith("blr"):
        return Flow.CALL, None, places[0]
    if base == "ret" or base.startswith("reta"):
        return Flow.RETURN, None, None
    if base in ("br", "braa", "brab", "braaz", "brabz"):
        return Flow.INDIRECT, None, places[0]
    if base.startswith("eret"):
        return Flow.BACK, None, None
    return (Flow.TRAP if base in _TRAPS else Flow.NEXT), None, None


def _stack_change(insn: Any, base: str, places: list[Place | None]) -> int | None:
    for operand, place in zip(insn.operands, places, strict=True):
        if isinstance(place, Memory) and place.base == _SP and insn.writeback:
            if not _is_post_indexed(insn):
                return int(operand.mem.disp)
            last = places[-1]
            value = last.value if isinstance(last, Constant) else int(operand.mem.disp)
            return value - (value >> 63 << 64)
    if base in ("add", "sub") and len(places) == 3 and places[0] == places[1] == Register(_SP, 8):
        if isinstance(places[2], Constant):
            return places[2].value if base == "add" else -places[2].value
        return None
    if base not in _COMPARES and places and places[0] == Register(_SP, 8):
        return None
    return 0


def _moves(insn: Any, base: str, places: list[Place | None]) -> list[Move]:
    moves = _written_back(insn, places)
    if base in ("bl", "blr") or base.startswith("blra"):
        return [Move(Register(30, 8), Kind.CONSTANT)]
    first = places[0] if places else None
    if base in _COMPARES or base in _NO_TARGET or base.startswith(("b.", "cb", "tb", "ret", "br")):
        return moves
    if base.startswith("st") and base not in ("stg", "stzg"):
        return _stores(base, places) + moves
    if base.startswith("ld") and not base.startswith(
        ("ldadd", "ldclr", "ldset", "ldeor", "ldsm", "ldum")
    ):
        return _loads(places) + moves
    if base.startswith(("ldadd", "ldclr", "ldset", "ldeor", "ldsm", "ldum", "swp", "cas")):
        return _atomics(base, places)
    if not isinstance(first, Register):
        return moves
    rest = tuple(place for place in places[1:] if place is not None)
    return [_computed(insn, base, first, rest), *moves]


def _computed(insn: Any, base: str, first: Register, rest: tuple[Place, ...]) -> Move:
    if base in ("mov", "movz", "movn", "adr", "adrp"):
        if not rest or isinstance(rest[0], Constant):
            value = rest[0].value if rest and isinstance(rest[0], Constant) else 0
            if base == "movn":
                value = ~value & MASK64
            return Move(first, Kind.CONSTANT, (Constant(value),))
        return Move(first, Kind.COPY, rest[:1])
    if base == "movk":
        return Move(first, Kind.RESULT, (first, *rest))
    if base in _EXTENDS and rest:
        return Move(first, Kind.COPY, rest[:1])
    if base in _SELECTS and len(rest) >= 2:
        return Move(first, Kind.SELECT, rest[:2], _SELECTS[base])
    if base in _ONE_SOURCE and rest:
        # The condition holds: changed; else as it is.
        return Move(first, Kind.SELECT, (rest[0], rest[0]), _ONE_SOURCE[base])
    if base in ("cset", "csetm"):
        return Move(first, Kind.FLAGS)
    if base in ("and", "orr", "add", "sub") and len(rest) == 2 and rest[1] == Constant(0):
        return Move(first, Kind.CONSTANT if base == "and" else Kind.COPY, rest[:1])
    sources = (first, *rest) if base in ("bfi", "bfxil", "bfm") else rest
    return Move(first, Kind.RESULT, sources)


def _written_back(insn: Any, places: list[Place | None]) -> list[Move]:
    if not insn.writeback:
        return []
    return [
        Move(Register(place.base, 8), Kind.RESULT, (Register(place.base, 8),))
        for place in places
        if isinstance(place, Memory) and place.base is not None
    ]


def _stores(base: str, places: list[Place | None]) -> list[Move]:
    memory = next((place for place in places if isinstance(place, Memory)), None)
    if memory is None:
        return []
    values = places[: places.index(memory)]
    moves = []
    if base.startswith(("stxr", "stlxr", "stxp", "stlxp")):
        if isinstance(values[0], Register):
            moves.append(Move(values[0], Kind.RESULT))
        values = values[1:]
    at = memory
    for value in values:
        if value is None:
            moves.append(Move(at, Kind.RESULT))
        else:
            kind = Kind.CONSTANT if isinstance(value, Constant) else Kind.COPY
            moves.append(Move(at, kind, (value,)))
        at = _behind(at)
    return moves


def _loads(places: list[Place | None]) -> list[Move]:
    memory = next((place for place in places if isinstance(place, Memory)), None)
    if memory is None:  # from a literal
        return [Move(p, Kind.RESULT) for p in places[:1] if isinstance(p, Register)]
    moves, at = [], memory
    for target in places[: places.index(memory)]:
        if isinstance(target, Register):
            moves.append(Move(target, Kind.COPY, (at,)))
        at = _behind(at)
    return moves


def _behind(memory: Memory) -> Memory:
    return Memory(
        memory.base, memory.index, memory.scale, memory.displacement + memory.size, memory.size
    )


def _atomics(base: str, places: list[Place | None]) -> list[Move]:
    memory = next((place for place in places if isinstance(place, Memory)), None)
    registers = places[:2]
    if memory is None or len(registers) < 2:
        return []
    if base.startswith("cas"):
        gets, gives = registers[0], registers[1]
    else:
        gives, gets = registers[0], registers[1]
    moves = [Move(memory, Kind.RESULT, (gives,) if gives is not None else ())]
    if isinstance(gets, Register):
        moves.append(Move(gets, Kind.COPY, (memory,)))
    return moves
