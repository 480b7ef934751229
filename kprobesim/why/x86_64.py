"""What instructions of x86-64 do to values, by capstone."""

from __future__ import annotations

import re
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

__all__ = ["read_x86"]

_SP, _AX, _DX, _BP = 4, 0, 2, 5
_NAMES = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_COPIES = frozenset({"mov", "movabs", "movzx", "movsx", "movsxd", "movnti", "movbe"})
_COMPARES = frozenset({"cmp", "test"})
_WIDENS = {"cdqe": (_AX, 4, _AX, 8), "cwde": (_AX, 2, _AX, 4), "cbw": (_AX, 1, _AX, 2)}
_NO_CONDITION = frozenset({"jrcxz", "jecxz", "loop", "loope", "loopne"})


def read_x86(insn: Any) -> Insn:
    """capstone's ``insn``, with its details."""
    base = re.sub(
        r"^(?:(?:lock|repe?|repne|notrack|bnd|xacquire|xrelease|data16) )+", "", insn.mnemonic
    )
    places = [_place(insn, operand) for operand in insn.operands]
    flow = _flow(insn, base, places)
    _, written = _accesses(insn)
    sets = flow[0] is Flow.NEXT and (base in _COMPARES or "rflags" in written)
    condition = _condition(base)
    named = zip(operand_texts(insn.op_str), places, strict=False)
    return make_insn(
        insn,
        base,
        moves=_moves(insn, base, places),
        flow=flow,
        sets_flags=sets,
        reads_flags=bool(condition) or base in ("sbb", "adc"),
        compared=[(name, p) for name, p in named if p is not None] if sets else [],
        condition=condition,
        stack_change=_stack_change(base, places, written),
    )


@cache
def _registers() -> dict[str, Register]:
    """By name."""
    found = {}
    for number, name in enumerate(_NAMES):
        found["r" + name] = Register(number, 8)
        found["e" + name] = Register(number, 4)
        found[name] = Register(number, 2)
        low = name[0] + "l" if name[1] == "x" else name + "l"
        found[low] = Register(number, 1)
        if name[1] == "x":
            found[name[0] + "h"] = Register(number, 1, 8)
    for number in range(8, 16):
        for suffix, size in ("", 8), ("d", 4), ("w", 2), ("b", 1):
            found[f"r{number}{suffix}"] = Register(number, size)
    return found


def _register(insn: Any, number: int) -> Register | None:
    return _registers().get(insn.reg_name(number) or "")


def _place(insn: Any, operand: Any) -> Place | None:
    from capstone import x86_const

    if operand.type == x86_const.X86_OP_REG:
        return _register(insn, operand.reg)
    if operand.type == x86_const.X86_OP_IMM:
        return Constant(operand.imm & MASK64)
    memory = operand.mem
    base, index = _register(insn, memory.base), _register(insn, memory.index)
    displacement = memory.disp
    if memory.base == x86_const.X86_REG_RIP:
        displacement += insn.address + insn.size
    segment = memory.segment in (x86_const.X86_REG_GS, x86_const.X86_REG_FS)
    return Memory(
        None if base is None else base.number,
        None if index is None else index.number,
        memory.scale,
        displacement,
        operand.size,
        segment,
    )


def _accesses(insn: Any) -> tuple[list[str], list[str]]:
    read, written = insn.regs_access()
    return [insn.reg_name(n) for n in read], [insn.reg_name(n) for n in written]


def _condition(base: str) -> str:
    for prefix in ("cmov", "set", "j"):
        if base.startswith(prefix) and base != "jmp" and base not in _NO_CONDITION:
            return base[len(prefix) :]
    return ""


def _flow(
    insn: Any, base: str, places: list[Place | None]
) -> tuple[Flow, int | None, Place | None]:
    place = places[0] if places else None
    if base in ("ret", "retf"):
        return Flow.RETURN, None, None
    if base.startswith("iret") or base in ("sysret", "sysretq", "sysexit"):
        return Flow.BACK, None, None
    if base in ("ud2", "int3", "ud1", "ud0"):
        return Flow.TRAP, None, None
    if base in ("call", "jmp"):
        if isinstance(place, Constant):
            return (Flow.CALL if base == "call" else Flow.JUMP), place.value, None
        return (Flow.CALL if base == "call" else Flow.INDIRECT), None, place
    if base.startswith(("j", "loop")):
        return Flow.BRANCH, place.value if isinstance(place, Constant) else None, None
    return Flow.NEXT, None, None


def _stack_change(base: str, places: list[Place | None], written: list[str]) -> int | None:
    if base in ("push", "pushfq"):
        return -8
    if base in ("pop", "popfq"):
        return None if places and places[0] == Register(_SP, 8) else 8
    if base in ("add", "sub") and len(places) == 2 and places[0] == Register(_SP, 8):
        if isinstance(places[1], Constant):
            value = places[1].value
            value -= value >> 63 << 64
            return value if base == "add" else -value
        return None
    if base in ("call", "ret", "jmp"):
        return 0
    return None if "rsp" in written else 0


def _moves(insn: Any, base: str, places: list[Place | None]) -> list[Move]:
    first = places[0] if places else None
    rest = tuple(place for place in places[1:] if place is not None)
    if base in _WIDENS:
        source, size, target, wide = _WIDENS[base]
        return [Move(Register(target, wide), Kind.COPY, (Register(source, size),))]
    if base == "push":
        return [Move(Memory(_SP, None, 1, -8, 8), Kind.COPY, (first,) if first else ())]
    if base == "pop" and isinstance(first, (Register, Memory)):
        return [Move(first, Kind.COPY, (Memory(_SP, None, 1, 0, 8),))]
    if base == "leave":
        return [
            Move(Register(_BP, 8), Kind.COPY, (Memory(_BP, None, 1, 0, 8),)),
            Move(Register(_SP, 8), Kind.RESULT, (Register(_BP, 8),)),
        ]
    if base == "call":
        return [Move(Memory(_SP, None, 1, -8, 8), Kind.CONSTANT)]
    if base in _COMPARES or not isinstance(first, (Register, Memory)):
        return _implicit(insn, base, places)
    if base in _COPIES and rest:
        kind = Kind.CONSTANT if isinstance(rest[0], Constant) else Kind.COPY
        return [Move(first, kind, rest[:1])]
    if base.startswith("movs") and len(places) == 2 and rest:  # movsb ... movsq
        return [Move(first, Kind.COPY, rest[:1]), *_implicit(insn, base, places)]
    if base == "xchg" and rest and isinstance(rest[0], (Register, Memory)):
        return [Move(first, Kind.COPY, (rest[0],)), Move(rest[0], Kind.COPY, (first,))]
    if base.startswith("cmov") and rest:
        return [Move(first, Kind.SELECT, (rest[0], first))]
    if base.startswith("set"):
        return [Move(first, Kind.FLAGS)]
    if base == "sbb" and rest == (first,):
        return [Move(first, Kind.FLAGS)]
    if base in ("xor", "sub") and rest == (first,):
        return [Move(first, Kind.CONSTANT, (Constant(0),))]
    if base == "or" and rest and isinstance(rest[0], Constant) and rest[0].value == MASK64:
        return [Move(first, Kind.CONSTANT, rest)]
    if base == "and" and rest == (Constant(0),):
        return [Move(first, Kind.CONSTANT, rest)]
    if base == "lea" and isinstance(rest[0], Memory):
        return [_lea(first, rest[0])]
    sources: tuple[Place, ...] = rest
    if _reads_first(insn, base):
        sources = (first, *rest)
    moves = [Move(first, Kind.RESULT, sources)] if _writes_first(insn) else []
    return moves + _implicit(insn, base, places)


def _lea(target: Register | Memory, memory: Memory) -> Move:
    registers = [n for n in (memory.base, memory.index) if n is not None]
    if not registers:
        return Move(target, Kind.CONSTANT, (Constant(memory.displacement & MASK64),))
    sources: tuple[Place, ...] = tuple(Register(n, 8) for n in registers)
    plain = len(registers) == 1 and not memory.displacement and memory.scale == 1
    return Move(target, Kind.COPY if plain else Kind.RESULT, sources)


def _reads_first(insn: Any, base: str) -> bool:
    return bool(insn.operands[0].access & 1) or base == "cmpxchg"


def _writes_first(insn: Any) -> bool:
    return bool(insn.operands[0].access & 2)


def _implicit(insn: Any, base: str, places: list[Place | None]) -> list[Move]:
    """Registers that are written and no first operand; memory that CMPXCHG and its like write."""
    _, written = _accesses(insn)
    named = {p.number for p in places[:1] if isinstance(p, Register)}
    moves = []
    if base == "cmpxchg" and isinstance(places[0], (Register, Memory)):
        source = (places[1],) if places[1] is not None else ()
        moves = [
            Move(places[0], Kind.RESULT, source),
            Move(Register(_AX, 8), Kind.COPY, (places[0],)),
        ]
    if base == "xadd" and isinstance(places[1], Register) and places[0] is not None:
        return [Move(places[1], Kind.COPY, (places[0],))]
    for name in dict.fromkeys(written):
        register = _registers().get(name)
        if register is not None and register.number not in named and register.number != _SP:
            moves.append(Move(register, Kind.RESULT))
    return moves
