"""The facts "context" and "ids" in compiled code (:mod:`kprobesim.programs.context`).

A ``task_struct`` lies in one piece of the guest's RAM, so its address is translated once.
"""

from __future__ import annotations

from llvmlite import ir

from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.task import TaskCode
from kprobesim.programs.compiler.walk import I1, I64, const, host_address, word_at
from kprobesim.programs.context import IRQS_OFF
from kprobesim.programs.guest import Guest

__all__ = ["emit_context"]

_PAIR = ir.LiteralStructType([I64, I64])
_NAME = "context_and_ids"


def emit_context(
    b: ir.IRBuilder, guest: Guest, memory: GuestMemoryCode, task: TaskCode
) -> tuple[ir.Value, ir.Value]:
    """Append a call that gives the words "context" and "ids"."""
    function = b.module.globals.get(_NAME)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_PAIR, []), _NAME)
        function.linkage = "internal"
        _emit(ir.IRBuilder(function.append_basic_block("entry")), guest, memory, task)
    pair = b.call(function, [])
    return b.extract_value(pair, 0), b.extract_value(pair, 1)


def _emit(b: ir.IRBuilder, guest: Guest, memory: GuestMemoryCode, task: TaskCode) -> None:
    places = guest.places
    bit, when_off = IRQS_OFF[guest.arch]
    flag = b.and_(word_at(b, guest.flags), const(bit))
    off = b.shl(b.zext(b.icmp_unsigned("==", flag, const(when_off)), I64), const(63))
    count: ir.Value = const(0)
    if places.preempt_variable is not None:
        for name in reversed(guest.tasks.place.bases):
            based = b.add(word_at(b, guest.control[name]), const(places.preempt_variable))
            number, _ = memory.read(b, based, places.preempt_bytes)
            if places.preempt_bytes == 8:
                top = b.shl(b.lshr(number, const(63)), const(31))
                number = b.or_(b.and_(number, const(0x7FFF_FFFF)), top)
            is_kernels = b.trunc(b.lshr(based, const(63)), I1)
            count = b.select(is_kernels, number, count)
    context = b.or_(off, count)
    if not guest.tasks.are_known:
        b.ret(_pair(b, context, const(0)))
        return
    offsets = guest.tasks.offsets
    current, no_task = task.current(b)
    host = b.call(host_address(b.module, guest), [b.select(no_task, const(0), current)])
    there = b.and_(b.not_(no_task), b.icmp_unsigned("!=", host, const(0)))
    some, none = b.append_basic_block("task"), b.append_basic_block("none")
    b.cbranch(there, some, none)
    b.position_at_end(none)
    b.ret(_pair(b, context, const(0)))
    b.position_at_end(some)

    def member(offset: int, bits: int) -> ir.Value:
        kind = ir.IntType(bits)
        place = b.inttoptr(b.add(host, const(offset)), kind.as_pointer())
        return b.zext(b.load(place, align=1), I64)

    if places.preempt_variable is None and places.preempt_member is not None:
        context = b.or_(context, member(places.preempt_member, 32))
    if places.flags_member is not None:
        context = b.or_(context, b.shl(member(places.flags_member, 16), const(32)))
    if places.migration_member is not None:
        context = b.or_(context, b.shl(member(places.migration_member, 8), const(48)))
    tgid = b.shl(member(offsets["tgid"], 32), const(32))
    b.ret(_pair(b, context, b.or_(member(offsets["pid"], 32), tgid)))


def _pair(b: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    whole = b.insert_value(ir.Constant(_PAIR, ir.Undefined), one, 0)
    return b.insert_value(whole, other, 1)
