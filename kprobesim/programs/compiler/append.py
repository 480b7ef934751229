"""The code that appends an entry to a stream (:mod:`kprobesim.programs.stores.stream`)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kprobesim.programs.appending import Append
from kprobesim.programs.compiler.emitter import I8, I64, Emitter, word
from kprobesim.programs.stores.stream import HEADER, OUTLET, STREAM, EntryLayout
from kprobesim.programs.types import Str
from kprobesim.programs.values import Text, Value

__all__ = ["emit_append"]

_WORD = I64.as_pointer()
_CALLBACK = ir.FunctionType(ir.VoidType(), []).as_pointer()


def emit_append(e: Emitter, action: Append, outlet: Any) -> None:
    """Append one entry, if its condition is met and the stream takes any.

    Args:
        e: Emits values.
        action: What is appended.
        outlet: A pointer to the program's :data:`OUTLET`, in code.
    """
    b = e.builder
    end = b.append_basic_block("appended")
    with e.sometimes():
        if action.when is not None:
            _go_on_if(b, e.truth(e.value(action.when)), end)
        _go_on_if(b, _is_set(b, b.gep(outlet, [word(OUTLET.index("on"))])), end)
        head = e.pointer(action.stream.address)
        _go_on_if(b, _is_set(b, _of(b, head, "on")), end)
        since = _of(b, head, "since")
        if action.after_others:
            _go_on_if(b, _is_set(b, since), end)
            b.store(word(0), since)
        else:
            b.store(word(1), since)
        _append(e, EntryLayout(action.fields), outlet, head)
    b.branch(end)
    b.position_at_end(end)


def _of(b: Any, head: Any, name: str) -> Any:
    return b.gep(head, [word(STREAM.index(name))])


def _is_set(b: Any, place: Any) -> Any:
    return b.icmp_unsigned("!=", b.load(place), word(0))


def _go_on_if(b: Any, condition: Any, end: Any) -> None:
    on = b.append_basic_block()
    b.cbranch(condition, on, end)
    b.position_at_end(on)


def _append(e: Emitter, layout: EntryLayout, outlet: Any, head: Any) -> None:
    b = e.builder
    used = _of(b, head, "used")
    need = b.add(b.load(used), word(layout.most))
    with b.if_then(b.icmp_unsigned(">", need, b.load(_of(b, head, "room"))), likely=False):
        b.call(b.inttoptr(b.load(_of(b, head, "drain")), _CALLBACK), [])
    before = b.load(used)
    start = b.add(b.load(_of(b, head, "buffer")), before)
    numbers = b.add(start, word(HEADER))
    tail = b.add(numbers, word(layout.numbers.size))
    faults = word(0)
    for number, value in enumerate(layout.values):
        place = b.add(numbers, word(layout.numbers.offsets[number]))
        kind = ir.IntType(8 * layout.numbers.sizes[number])
        if isinstance(value.type, Str):
            content, tail = _text(e, value, tail)
        else:
            emitted = e.value(value)
            content = emitted.word
            if emitted.fault is not None:
                content = b.select(emitted.fault, word(0), content)
                bit = b.shl(b.zext(emitted.fault, I64), word(number))
                faults = b.or_(faults, bit)
        b.store(content if kind == I64 else b.trunc(content, kind), e.pointer(place, kind))
    if layout.numbers.faults is not None:
        b.store(faults, e.pointer(b.add(numbers, word(layout.numbers.faults))))
    size = b.sub(tail, start)
    mine = b.load(outlet)
    b.store(b.or_(mine, b.shl(size, word(32))), e.pointer(start))
    b.store(b.add(before, size), used)


def _text(e: Emitter, value: Value, tail: Any) -> tuple[Any, Any]:
    """Write a string at ``tail``: its length, -1 for a fault, and what is behind it."""
    b = e.builder
    if isinstance(value, Text):
        length = e.text_length(value, b.inttoptr(tail, I8.as_pointer()))
    else:  # of fixed size, with NULs behind it
        emitted, length = e.value(value), word(value.type.size)
        for at in range(0, value.type.size, 8):
            b.store(e.read(b.add(emitted.word, word(at))), e.pointer(b.add(tail, word(at))))
        if emitted.fault is not None:
            length = b.select(emitted.fault, word(-1), length)
    there = b.select(b.icmp_signed("<", length, word(0)), word(0), length)
    return length, b.add(tail, b.and_(b.add(there, word(7)), word(-8)))
