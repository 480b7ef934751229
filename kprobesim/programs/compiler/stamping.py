"""What appending to a stream seldom needs: room, and a stamp that says who is running.

One function does both, compiled once a guest; code that appends calls it when its memory is full or
when the last stamp is no more true (:mod:`~kprobesim.programs.stores.entry_layout`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from kprobesim.arch.architecture import architecture
from kprobesim.programs.compiler.context import KeptContext, cpu_bits, emit_context
from kprobesim.programs.compiler.jit import compile_module
from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.task import TaskCode
from kprobesim.programs.compiler.walk import I1, I64, const
from kprobesim.programs.guest import Guest
from kprobesim.programs.stores.entry_layout import (
    NUMBER_BITS,
    STAMP,
    STAMP_NUMBER,
    TIME_BITS,
)
from kprobesim.programs.stores.stream import STREAM

__all__ = ["emit_header", "emit_prepare", "stale_signs", "word_of"]

_NAME = "prepare"
_WORD = I64.as_pointer()
_KIND = ir.FunctionType(I1, [_WORD, I64, I64])
_SPARES_REGISTERS = "preserve_mostcc"  # so that who calls it seldom need not save any
_CALLBACK = ir.FunctionType(ir.VoidType(), []).as_pointer()


def word_of(b: ir.IRBuilder, head: ir.Value, name: str) -> ir.Value:
    """Where one of :data:`STREAM` is."""
    return b.gep(head, [const(STREAM.index(name))])


def emit_header(b: ir.IRBuilder, number: ir.Value, now: ir.Value) -> ir.Value:
    """The first word of an entry."""
    return b.or_(number, b.shl(now, const(NUMBER_BITS)))


def stale_signs(b: ir.IRBuilder, guest: Guest, head: ir.Value, now: ir.Value) -> Iterator[ir.Value]:
    """Emits one after the other what tells that the last stamp may not be true at ``now``."""
    kept = KeptContext(b, guest)
    for word in kept.stale_signs():
        yield _is_set(b, word)
    for word in _differences(b, head, kept.ids, kept.context, now):
        yield _is_set(b, word)


def emit_prepare(
    b: ir.IRBuilder, guest: Guest, head: ir.Value, most: int, now: ir.Value
) -> ir.Value:
    """Make room for ``most`` bytes, and write a stamp where one is due; whether to write on."""
    code = guest.shared.get(_NAME)
    if code is None:
        code = guest.shared[_NAME] = compile_module(_prepare(guest))
    function = b.inttoptr(const(code.address(_NAME)), _KIND.as_pointer())
    return b.call(function, [head, const(most), now], cconv=_SPARES_REGISTERS)


def _prepare(guest: Guest) -> ir.Module:
    module = ir.Module(_NAME)
    function = ir.Function(module, _KIND, _NAME)
    function.calling_convention = _SPARES_REGISTERS
    head, most, now = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    on, drain, room, stamp, new, go_on, nothing = (
        function.append_basic_block(name)
        for name in ("on", "drain", "room", "stamp", "new", "go_on", "nothing")
    )

    def load(name: str) -> ir.Value:
        return b.load(word_of(b, head, name))

    def lacks_room() -> ir.Value:
        return b.icmp_unsigned(">", b.add(load("at"), b.add(most, const(STAMP))), load("end"))

    b.cbranch(_is_set(b, load("on")), on, nothing)
    b.position_at_end(on)
    b.cbranch(lacks_room(), drain, room)
    b.position_at_end(drain)
    b.call(b.inttoptr(load("drain"), _CALLBACK), [])
    b.cbranch(lacks_room(), nothing, room)  # Python has failed, and told so
    b.position_at_end(room)
    b.cbranch(_is_set(b, load("stamped")), stamp, go_on)

    b.position_at_end(stamp)
    memory = GuestMemoryCode(module, guest)
    task = TaskCode(guest, memory, architecture(guest.arch).abi)
    context, ids = emit_context(b, guest, memory, task)
    ids = b.or_(ids, cpu_bits(b, guest))
    differences = _differences(b, head, ids, context, now)
    b.cbranch(_is_set(b, functools.reduce(b.or_, differences)), new, go_on)
    b.position_at_end(new)
    at = b.inttoptr(load("at"), _WORD)
    header = emit_header(b, const(STAMP_NUMBER), now)
    for index, word in enumerate((header, ids, context, now)):
        b.store(word, b.gep(at, [const(index)]))
    for name, word in (("ids", ids), ("context", context), ("time", now)):
        b.store(word, word_of(b, head, name))
    b.store(b.add(load("at"), const(STAMP)), word_of(b, head, "at"))
    b.branch(go_on)

    b.position_at_end(go_on)
    b.ret(ir.Constant(I1, 1))
    b.position_at_end(nothing)
    b.ret(ir.Constant(I1, 0))
    return module


def _differences(
    b: ir.IRBuilder, head: ir.Value, ids: ir.Value, context: ir.Value, now: ir.Value
) -> Iterator[ir.Value]:
    """All 0 if the last stamp says the same, and tells the high bits of the time."""
    yield b.lshr(b.sub(now, b.load(word_of(b, head, "time"))), const(TIME_BITS))
    for name, word in (("ids", ids), ("context", context)):
        yield b.xor(word, b.load(word_of(b, head, name)))


def _is_set(b: ir.IRBuilder, word: ir.Value) -> Any:
    return b.icmp_unsigned("!=", word, const(0))
