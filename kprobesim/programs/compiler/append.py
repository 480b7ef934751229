"""The code that appends an entry to a stream (:mod:`kprobesim.programs.stores.stream`)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kprobesim.programs.appending import Append
from kprobesim.programs.compiler.emitter import I8, I64, Emitter, word
from kprobesim.programs.compiler.stamping import (
    emit_header,
    emit_prepare,
    stale_signs,
    word_of,
)
from kprobesim.programs.leaves import Fact
from kprobesim.programs.stores.entry_layout import HEADER, EntryLayout
from kprobesim.programs.stores.stream import OUTLET
from kprobesim.programs.types import Str
from kprobesim.programs.values import Text, Value

__all__ = ["emit_append"]


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
        number = b.load(b.gep(outlet, [word(OUTLET.index("number"))]))
        _go_on_if(b, b.icmp_signed(">=", number, word(0)), end)
        head = e.pointer(action.stream.address)
        if action.after_others:
            others = b.load(word_of(b, head, "others"))
            _go_on_if(b, b.icmp_unsigned("!=", others, word(0)), end)
        layout = EntryLayout(action.fields)
        now = e.value(Fact("now")).word if action.stream.stamped else word(0)
        _prepare(e, action, layout, head, now, end)
        _append(e, layout, head, emit_header(b, number, now))
        b.store(word(not action.after_others), word_of(b, head, "others"))
    b.branch(end)
    b.position_at_end(end)


def _prepare(
    e: Emitter, action: Append, layout: EntryLayout, head: Any, now: Any, end: Any
) -> None:
    """Let there be room, and a stamp; go to ``end`` if nothing is to be written."""
    b = e.builder
    prepare, ready = b.append_basic_block("prepare"), b.append_basic_block("ready")

    def unless(unready: Any) -> None:
        on = b.append_basic_block()
        b.cbranch(unready, prepare, on).set_weights([1, 999])
        b.position_at_end(on)

    at, limit = (b.load(word_of(b, head, name)) for name in ("at", "end"))
    unless(b.icmp_unsigned(">", b.add(at, word(layout.most)), limit))
    if action.stream.stamped:
        for stale in stale_signs(b, e.guest, head, now):
            unless(stale)
    b.branch(ready)
    b.position_at_end(prepare)
    b.cbranch(emit_prepare(b, e.guest, head, layout.most, now), ready, end)
    b.position_at_end(ready)


def _go_on_if(b: Any, condition: Any, end: Any) -> None:
    on = b.append_basic_block()
    b.cbranch(condition, on, end)
    b.position_at_end(on)


def _append(e: Emitter, layout: EntryLayout, head: Any, header: Any) -> None:
    """Write an entry."""
    b = e.builder
    place_of_at = word_of(b, head, "at")
    start = b.load(place_of_at)
    numbers = b.add(start, word(HEADER))
    tail = b.add(start, word(layout.least))
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
    b.store(header, e.pointer(start))
    b.store(tail, place_of_at)


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
