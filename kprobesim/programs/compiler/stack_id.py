"""The number of a stack of callers, in compiled code: frames are followed, the stack is looked up.

:mod:`kprobesim.programs.stores.stacks` tells what it is; :class:`.task.TaskFacts` does the same.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import ir

from kprobesim.arch.architecture import architecture
from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.walk import I1, I64, const, word_at
from kprobesim.programs.guest import Guest
from kprobesim.programs.stores.stacks import DEPTH, LOST, MIX, SLOTS

__all__ = ["stack_number", "unwound_number"]

_WORD = I64.as_pointer()
_NAME, _UNWOUND = "stack_number", "unwound_number"
_UNWINDER = ir.FunctionType(I64, [I64]).as_pointer()


def stack_number(module: ir.Module, guest: Guest, memory: GuestMemoryCode) -> ir.Function:
    """The function of ``module`` that gives the number for a caller; -1: there is no room."""
    found = module.globals.get(_NAME)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(I64, [I64]), _NAME)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    addresses = b.alloca(I64, DEPTH)
    caller = function.args[0]
    b.store(caller, addresses)
    count, value = _follow(b, guest, memory, addresses, _mix(b, const(0), caller))
    _look_up(b, guest, addresses, count, value)
    return function


def unwound_number(module: ir.Module, guest: Guest) -> ir.Function:
    """The function that gives the number of what the unwinder finds; -1: nothing, or no room.

    It takes where the CPU is, and who comes before all callers that are found there; 0: nobody.
    """
    found = module.globals.get(_UNWOUND)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), _UNWOUND)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    names = "put_first", "begin", "next", "one", "done", "nothing"
    put_first, begin, next_, one, done, nothing = (b.append_basic_block(name) for name in names)
    addresses = b.alloca(I64, DEPTH)
    ip, first = function.args
    unwinder = b.inttoptr(const(guest.unwound.function), _UNWINDER)
    words = b.inttoptr(const(guest.unwound.words), _WORD)
    callers = b.call(unwinder, [ip])
    entry = b.block
    b.cbranch(b.icmp_unsigned("!=", first, const(0)), put_first, begin)

    b.position_at_end(put_first)
    b.store(first, addresses)
    mixed_first = _mix(b, const(0), first)
    b.branch(begin)

    b.position_at_end(begin)
    start, hashed = b.phi(I64), b.phi(I64)
    for phi, without, with_first in ((start, 0, const(1)), (hashed, 0, mixed_first)):
        phi.add_incoming(const(without), entry)
        phi.add_incoming(with_first, put_first)
    b.branch(next_)

    b.position_at_end(next_)
    at, count, value = (b.phi(I64) for _ in range(3))
    for phi, initial in ((at, const(0)), (count, start), (value, hashed)):
        phi.add_incoming(initial, begin)
    more = b.and_(b.icmp_unsigned("<", at, callers), b.icmp_unsigned("<", count, const(DEPTH)))
    b.cbranch(more, one, done)

    b.position_at_end(one)
    address = b.load(b.gep(words, [at]))
    b.store(address, b.gep(addresses, [count]))
    steps = b.add(at, const(1)), b.add(count, const(1)), _mix(b, value, address)
    for phi, step in zip((at, count, value), steps, strict=True):
        phi.add_incoming(step, one)
    b.branch(next_)

    b.position_at_end(done)
    look = b.append_basic_block("look")
    b.cbranch(b.icmp_unsigned("==", count, const(0)), nothing, look)
    b.position_at_end(nothing)
    b.ret(const(-1))
    b.position_at_end(look)
    _look_up(b, guest, addresses, count, value)
    return function


def _mix(b: Any, value: Any, address: Any) -> Any:
    value = b.mul(b.xor(value, address), const(MIX))
    return b.xor(value, b.lshr(value, const(32)))


def _follow(
    b: Any, guest: Guest, memory: GuestMemoryCode, addresses: Any, first: Any
) -> tuple[Any, Any]:
    """Append the callers of the caller; how many there are then, and their hash."""
    abi = architecture(guest.arch).abi
    names = "look", "frame", "on", "end"
    look, body, on, end = (b.append_basic_block(name) for name in names)
    register = word_at(b, guest.window + 8 * abi.number(abi.frame_pointer))
    before = b.block
    b.branch(look)

    b.position_at_end(look)
    frame, count, value = (b.phi(I64) for _ in range(3))
    for phi, start in ((frame, register), (count, const(1)), (value, first)):
        phi.add_incoming(start, before)
    aligned = b.icmp_unsigned("==", b.and_(frame, const(7)), const(0))
    there = b.and_(aligned, b.icmp_unsigned("!=", frame, const(0)))
    b.cbranch(b.and_(there, b.icmp_unsigned("<", count, const(DEPTH))), body, end)

    b.position_at_end(body)
    outer, lost = memory.read(b, frame, 8)
    link, no_link = memory.read(b, b.add(frame, const(8)), 8)
    is_kernels = b.trunc(b.lshr(link, const(63)), I1)
    known = b.and_(is_kernels, b.not_(b.or_(lost, no_link)))
    read = b.block
    b.cbranch(known, on, end)

    b.position_at_end(on)
    b.store(link, b.gep(addresses, [count]))
    more, mixed = b.add(count, const(1)), _mix(b, value, link)
    count.add_incoming(more, on)
    value.add_incoming(mixed, on)
    # On x86-64 frames lie one above the other; on ARM64 also on another stack, behind an interrupt.
    next_ = outer
    if abi.pushes_return:
        next_ = b.select(b.icmp_unsigned(">", outer, frame), outer, const(0))
    frame.add_incoming(next_, on)
    b.branch(look)

    b.position_at_end(end)
    all_, hashed = b.phi(I64), b.phi(I64)
    for phi, known_value in ((all_, count), (hashed, value)):
        phi.add_incoming(known_value, look)
        phi.add_incoming(known_value, read)
    return all_, hashed


def _look_up(b: Any, guest: Guest, addresses: Any, count: Any, value: Any) -> None:
    """Return the number of the stack, which becomes a new one if it is not known."""
    names = "look_up", "compare", "word", "other", "new", "copy", "known", "full"
    look, compare, word, other, new, copy, known, full = (
        b.append_basic_block(name) for name in names
    )
    base = b.inttoptr(const(ctypes.addressof(guest.stacks.words)), _WORD)
    before = b.block
    b.branch(look)

    b.position_at_end(look)
    step = b.phi(I64)
    step.add_incoming(const(0), before)
    number = b.and_(b.add(value, step), const(SLOTS - 1))
    slot = b.gep(base, [b.mul(number, const(DEPTH + 1))])
    used = b.load(slot)
    b.cbranch(b.icmp_unsigned("==", used, const(0)), new, compare)

    b.position_at_end(compare)
    same = b.icmp_unsigned("==", used, count)
    b.cbranch(same, word, other)
    b.position_at_end(word)
    at = b.phi(I64)
    at.add_incoming(const(0), compare)
    next_ = b.add(at, const(1))
    equal = b.icmp_unsigned("==", b.load(b.gep(slot, [next_])), b.load(b.gep(addresses, [at])))
    following = b.append_basic_block("following")
    b.cbranch(equal, following, other)
    b.position_at_end(following)
    at.add_incoming(next_, following)
    b.cbranch(b.icmp_unsigned("<", next_, count), word, known)
    b.position_at_end(other)
    further = b.add(step, const(1))
    step.add_incoming(further, other)
    b.cbranch(b.icmp_unsigned("<", further, const(SLOTS)), look, full)

    b.position_at_end(new)
    b.store(count, slot)
    b.branch(copy)
    b.position_at_end(copy)
    copied = b.phi(I64)
    copied.add_incoming(const(0), new)
    more = b.add(copied, const(1))
    b.store(b.load(b.gep(addresses, [copied])), b.gep(slot, [more]))
    copied.add_incoming(more, copy)
    b.cbranch(b.icmp_unsigned("<", more, count), copy, known)

    b.position_at_end(known)
    b.ret(number)
    b.position_at_end(full)
    lost = b.gep(base, [const(LOST)])
    b.store(b.add(b.load(lost), const(1)), lost)
    b.ret(const(-1))
