"""A program as a function that a hit calls: the test of its condition, and its actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from kprobesim.programs.actions import (
    Action,
    Count,
    Histogram,
    Keyed,
    Linear,
    Maximum,
    Minimum,
    Record,
    Sum,
)
from kprobesim.programs.appending import Append
from kprobesim.programs.calling import Call
from kprobesim.programs.compiler import returns
from kprobesim.programs.compiler.append import emit_append
from kprobesim.programs.compiler.block import BLOCK, STORES, returns_at
from kprobesim.programs.compiler.emitter import I1, I32, I64, Emitted, Emitter, word
from kprobesim.programs.compiler.jit import Code, compile_module
from kprobesim.programs.compiler.tables import table_function
from kprobesim.programs.guest import Guest
from kprobesim.programs.pending import Pending
from kprobesim.programs.program import Program
from kprobesim.programs.stores.cells import cell_of
from kprobesim.programs.stores.layout import Packed, layout_of_key, layout_of_record
from kprobesim.programs.stores.ring import RING
from kprobesim.programs.types import Int, Str
from kprobesim.programs.values import Value

__all__ = ["HIT", "RETURNED", "compile_hit"]

_WORD = I64.as_pointer()
_CALLBACK = ir.FunctionType(ir.VoidType(), []).as_pointer()
HIT, RETURNED = "hit", "returned"
"""The names of the functions."""
_SIGNATURE = ir.FunctionType(ir.VoidType(), [I64, I64, I32, _WORD])


def compile_hit(program: Program, guest: Guest, pending: Pending) -> Code:
    """Compile ``program`` for one guest.

    Args:
        program: Any of its shape may share the code.
        guest: The guest, whose addresses are baked in.
        pending: The calls that its return programs follow.

    Returns:
        The code, with a function :data:`HIT` of the signature that
        :class:`~kprobesim.machine.unicorn.native.Native` tells; its data is a
        :mod:`block <kprobesim.programs.compiler.block>`. With a return program that is for the
        entry, and :data:`RETURNED` is for the return.
    """
    module = ir.Module(HIT)
    emitter, block = _begin(module, HIT, _SIGNATURE, guest)
    hit = _Hit(emitter, module, block)
    if program.returns:
        hit.emit_entry(program, guest, pending)
        emitter, block = _begin(module, RETURNED, returns.RETURNED, guest)
        address = emitter.builder.gep(block, [word(returns_at(len(program.actions), "address"))])
        emitter.here = emitter.builder.load(address)
        emitter.task.before_instruction = True
        returns.load_instance(emitter, emitter.builder.function.args[-1], program)
        _Hit(emitter, module, block).emit(program)
    else:
        hit.look_if_busy(guest)
        hit.emit(program)
    return compile_module(module)


def _begin(module: ir.Module, name: str, kind: Any, guest: Guest) -> tuple[Emitter, Any]:
    function = ir.Function(module, kind, name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    return Emitter(builder, guest, function.args[1]), function.args[3]


class _Hit:
    """The body of such a function."""

    def __init__(self, emitter: Emitter, module: ir.Module, block: Any) -> None:
        self._e, self._b, self._module, self._block = emitter, emitter.builder, module, block
        self._done = self._b.append_basic_block("done")
        self._do: dict[type[Action], Callable[[Any, Any], None]] = {
            Append: lambda action, outlet: emit_append(self._e, action, outlet),
            Call: self._call,
            Count: self._keyed,
            Histogram: self._keyed,
            Maximum: self._keyed,
            Minimum: self._keyed,
            Record: self._record,
            Sum: self._keyed,
        }

    def look_if_busy(self, guest: Guest) -> None:
        """Append the code that counts a miss while a probe is being handled."""
        b = self._b
        missed = b.append_basic_block("missed")
        free = b.append_basic_block("free")
        is_busy = b.icmp_unsigned("!=", self._e.read(guest.busy), word(0))
        b.cbranch(is_busy, missed, free)
        b.position_at_end(missed)
        self._count_up("nmissed")
        b.branch(self._done)
        b.position_at_end(free)

    def emit_entry(self, program: Program, guest: Guest, pending: Pending) -> None:
        """Append the code of a return program's entry."""
        b = self._b
        self.look_if_busy(guest)
        free = b.gep(self._block, [word(returns_at(len(program.actions), "free"))])
        saved = [self._e.value(argument).word for argument in program.saved]
        missed = returns.emit_entry(self._e, pending, free, saved, timed=program.is_timed)
        b.branch(self._done)
        b.position_at_end(missed)
        self._count_up("nmissed")
        b.branch(self._done)
        b.position_at_end(self._done)
        b.ret_void()

    def emit(self, program: Program) -> None:
        """Append the code of its condition and its actions."""
        b = self._b
        if program.when is not None:
            self._test(program.when)
        self._count_up("hits")
        for number, action in enumerate(program.actions):
            store = b.load(b.gep(self._block, [word(STORES + number)]))
            self._do[type(action)](action, b.inttoptr(store, _WORD))
        b.branch(self._done)
        b.position_at_end(self._done)
        b.ret_void()

    def _count_up(self, name: str) -> None:
        self._add_one(self._b.gep(self._block, [word(BLOCK.index(name))]))

    def _add_one(self, at: Any) -> None:
        self._b.store(self._b.add(self._b.load(at), word(1)), at)

    def _test(self, when: Value) -> None:
        """Go on if the condition is met."""
        b, condition = self._b, self._e.value(when)
        met = b.append_basic_block("met")
        if condition.fault is not None:
            known = b.append_basic_block("known")
            with b.if_then(condition.fault):
                self._count_up("faults")
            b.branch(known)
            b.position_at_end(known)
        b.cbranch(self._e.truth(condition), met, self._done)
        b.position_at_end(met)

    # -- actions -----------------------------------------------------------------------------------

    def _keyed(self, action: Keyed, store: Any) -> None:
        """What is kept for each key, or once."""
        b = self._b
        value = None if isinstance(action, Count) else self._e.value(action.value)  # type: ignore[attr-defined]
        fault = None if value is None else value.fault
        if fault is None:
            self._add_to(action, store, value)
            return
        with b.if_else(fault) as (bad, good):
            with bad:
                self._count_up("faults")
            with good, self._e.sometimes():
                self._add_to(action, store, value)

    def _add_to(self, action: Keyed, store: Any, value: Emitted | None) -> None:
        b = self._b
        if not action.key:
            self._add(action, store, value)
            return
        layout = layout_of_key(action)
        key = self._e.buffer(layout.size)
        self._pack(layout, list(action.key), b.ptrtoint(key, I64))
        find = table_function(self._module, layout.size // 8, cell_of(action).words)
        cell = b.call(find, [store, key])
        there = b.icmp_unsigned("!=", b.ptrtoint(cell, I64), word(0))
        with b.if_then(there), self._e.sometimes():
            self._add(action, cell, value)

    def _add(self, action: Keyed, cell: Any, value: Emitted | None) -> None:
        b = self._b
        if value is None:
            self._add_one(cell)
        elif isinstance(action, Histogram):
            self._add_one(b.gep(cell, [self._slot(action, value.word)]))
        else:
            at = b.gep(cell, [word(1)])
            b.store(self._total(action, b.load(cell), b.load(at), value.word), at)
            self._add_one(cell)

    def _total(self, action: Any, hits: Any, before: Any, value: Any) -> Any:
        b = self._b
        if isinstance(action, Sum):
            return b.add(before, value)
        compare = b.icmp_signed if action.value.type.signed else b.icmp_unsigned
        is_better = compare("<" if isinstance(action, Minimum) else ">", value, before)
        first = b.icmp_unsigned("==", hits, word(0))
        return b.select(b.or_(first, is_better), value, before)

    def _slot(self, action: Histogram, value: Any) -> Any:
        b, scale = self._b, action.scale
        signed = isinstance(action.value.type, Int) and action.value.type.signed
        last = word(scale.slots - 1)
        if isinstance(scale, Linear):
            below = b.icmp_signed("<", value, word(scale.low))
            above = b.icmp_signed(">=", value, word(scale.high))
            if not signed:  # what is negative in 64 bits is large
                huge = b.icmp_signed("<", value, word(0))
                below, above = b.and_(below, b.not_(huge)), b.or_(above, huge)
            step = b.udiv(b.sub(value, word(scale.low)), word(scale.step))
            slot = b.add(step, word(1))
            return b.select(below, word(0), b.select(above, last, slot))
        zeroes = b.ctlz(value, ir.Constant(I1, 0))
        slot = b.sub(word(64), zeroes)
        if not signed:
            return slot
        return b.select(b.icmp_signed("<", value, word(0)), last, slot)

    def _call(self, action: Call, callback: Any) -> None:
        """Call a function, if its condition is met."""
        b = self._b
        function = b.inttoptr(b.load(callback), _CALLBACK)
        if action.when is None:
            b.call(function, [])
            return
        with self._e.sometimes():
            met = self._e.truth(self._e.value(action.when))
            with b.if_then(met):
                b.call(function, [])

    def _record(self, action: Record, head: Any) -> None:
        """Append a record, if there is room."""
        b, e = self._b, self._e
        used = b.gep(head, [word(RING.index("used"))])
        room = b.load(b.gep(head, [word(RING.index("room"))]))
        drain = b.load(b.gep(head, [word(RING.index("drain"))]))
        full = b.icmp_unsigned(">=", b.load(used), room)
        can_drain = b.icmp_unsigned("!=", drain, word(0))
        with b.if_then(b.and_(full, can_drain), likely=False):
            b.call(b.inttoptr(drain, _CALLBACK), [])
        number = b.load(used)
        with b.if_else(b.icmp_unsigned("<", number, room)) as (fits, lost):
            with lost:
                self._add_one(b.gep(head, [word(RING.index("lost"))]))
            with fits, e.sometimes():
                layout = layout_of_record(action)
                buffer = b.load(b.gep(head, [word(RING.index("buffer"))]))
                at = b.add(buffer, b.mul(number, word(layout.size)))
                self._pack(layout, list(action.values), at)
                b.store(b.add(number, word(1)), used)

    def _pack(self, layout: Packed, values: list[Value], at: Any) -> None:
        """Write values side by side into memory at a host's address."""
        b, e, faults = self._b, self._e, None
        for number, (value, offset) in enumerate(zip(values, layout.offsets, strict=True)):
            emitted = e.value(value)
            place = b.add(at, word(offset))
            kind = value.type
            if isinstance(kind, Str):
                for step in range(0, kind.size, 8):
                    part = e.read(b.add(emitted.word, word(step)))
                    if emitted.fault is not None:
                        part = b.select(emitted.fault, word(0), part)
                    b.store(part, e.pointer(b.add(place, word(step))))
            else:
                size = layout.sizes[number]
                low = ir.IntType(8 * size)
                content = emitted.word
                if emitted.fault is not None:
                    content = b.select(emitted.fault, word(0), content)
                content = content if size == 8 else b.trunc(content, low)
                b.store(content, e.pointer(place, low))
            if emitted.fault is not None:
                bit = b.shl(b.zext(emitted.fault, I64), word(number))
                faults = bit if faults is None else b.or_(faults, bit)
        if layout.faults is not None:
            place = b.add(at, word(layout.faults))
            b.store(word(0) if faults is None else faults, e.pointer(place))
