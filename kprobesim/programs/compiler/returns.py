"""The code of return programs: an entry is remembered, and found again where the call returns to.

What it works on is told in :mod:`kprobesim.programs.pending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from kprobesim.arch.architecture import architecture
from kprobesim.kprobes.rethook import RET_IMMEDIATE
from kprobesim.programs.compiler.emitter import I32, I64, Emitter, word
from kprobesim.programs.compiler.jit import Code, compile_module
from kprobesim.programs.guest import Guest
from kprobesim.programs.leaves import Fact
from kprobesim.programs.pending import (
    GOLDEN,
    INSTANCE,
    LISTS,
    MOST_SITES,
    SAVED,
    SITES,
    STACK_SHIFT,
    STATE,
    Pending,
)
from kprobesim.programs.program import Program
from kprobesim.programs.stores.words import address_of

__all__ = [
    "ARRIVED",
    "RETURNED",
    "TASK_DEAD",
    "TASK_SWITCHED",
    "compile_returns",
    "emit_entry",
    "load_instance",
]

ARRIVED, TASK_DEAD, TASK_SWITCHED = "arrived", "task_dead", "task_switched"
"""The functions of :func:`compile_returns`: to be called at each block, where a task dies, and
where the CPU has come to another task."""

_WORD = I64.as_pointer()
_VOID = ir.VoidType()
_CALLBACK = ir.FunctionType(_VOID, [I64, I64, I32, _WORD])
RETURNED = ir.FunctionType(_VOID, [I64, I64, I32, _WORD, _WORD])
"""The function of a program that is called at a return: as at a hit, and the instance."""


def _field(b: Any, instance: Any, name: str) -> Any:
    return b.gep(instance, [word(INSTANCE.index(name))])


def _pointer(b: Any, address: Any) -> Any:
    return b.inttoptr(word(address) if isinstance(address, int) else address, _WORD)


def _hash(b: Any, value: Any, size: int) -> Any:
    bits = size.bit_length() - 1
    return b.lshr(b.mul(value, word(GOLDEN)), word(64 - bits))


def _stack(b: Any, key: Any) -> Any:
    """Which stack: the end of one is still its own."""
    return b.lshr(b.sub(key, word(1)), word(STACK_SHIFT))


def _list_of(b: Any, pending: Pending, key: Any) -> Any:
    """The word that leads to the newest call of a stack."""
    number = _hash(b, _stack(b, key), LISTS)
    return b.gep(_pointer(b, address_of(pending.lists)), [number])


def _state(b: Any, pending: Pending, name: str) -> Any:
    return _pointer(b, address_of(pending.state, STATE.index(name)))


def _find_site(b: Any, pending: Pending, address: Any, found: Any) -> Any:
    """Go to the block ``found`` if calls return to ``address``; else go on, with a place for it."""
    look = b.append_basic_block("look")
    other, absent = b.append_basic_block("other"), b.append_basic_block("absent")
    before, first = b.block, _hash(b, address, SITES)
    b.branch(look)
    b.position_at_end(look)
    number = b.phi(I64)
    number.add_incoming(first, before)
    place = b.gep(_pointer(b, address_of(pending.sites)), [number])
    known = b.load(place)
    b.cbranch(b.icmp_unsigned("==", known, address), found, other)
    b.position_at_end(other)
    number.add_incoming(b.and_(b.add(number, word(1)), word(SITES - 1)), other)
    b.cbranch(b.icmp_unsigned("==", known, word(0)), absent, look)
    b.position_at_end(absent)
    return place


# -- the entry -------------------------------------------------------------------------------------


def emit_entry(
    e: Emitter, pending: Pending, free: Any, saved: Sequence[Any], *, timed: bool
) -> Any:
    """Follow the call whose function is entered; where code goes on, that is done.

    Args:
        e: The emitter of the function that is called at the entry.
        pending: The calls that are followed.
        free: A pointer to the word with the first free instance.
        saved: The words to keep, in code.
        timed: Whether to keep the time.

    Returns:
        A block that code goes to if the call cannot be followed, to be filled.
    """
    b = e.builder
    missed = b.append_basic_block("not_followed")
    first = b.load(free)
    _split(b, b.icmp_unsigned("!=", first, word(0)), missed)
    ret_addr, fault = e.task.caller(b)
    _split(b, b.not_(fault), missed)
    known = b.append_basic_block("known")
    place = _find_site(b, pending, ret_addr, known)
    sites = _state(b, pending, "sites")
    count = b.load(sites)
    _split(b, b.icmp_unsigned("<", count, word(MOST_SITES)), missed)
    b.store(b.add(count, word(1)), sites)
    b.store(ret_addr, place)
    b.branch(known)

    b.position_at_end(known)
    instance = b.inttoptr(first, _WORD)
    following = _field(b, instance, "next")
    b.store(b.load(following), free)
    serial, key = _state(b, pending, "serial"), e.task.stack_pointer_after_return(b)
    number = b.add(b.load(serial), word(1))
    b.store(number, serial)
    b.store(key, _field(b, instance, "key"))
    b.store(ret_addr, _field(b, instance, "ret_addr"))
    b.store(number, _field(b, instance, "serial"))
    if timed:
        b.store(e.task.now(b)[0], _field(b, instance, "entered"))
    for index, value in enumerate(saved):
        b.store(value, b.gep(instance, [word(SAVED + index)]))
    newest = _list_of(b, pending, key)
    b.store(b.load(newest), following)
    b.store(first, newest)
    return missed


def load_instance(e: Emitter, instance: Any, program: Program) -> None:
    """Let ``e`` know, at the return, what was kept at the entry."""
    b = e.builder
    for index, argument in enumerate(program.saved):
        e.saved[argument.shape] = b.load(b.gep(instance, [word(SAVED + index)]))
    e.saved[Fact("caller").shape] = b.load(_field(b, instance, "ret_addr"))
    if program.is_timed:
        entered = b.load(_field(b, instance, "entered"))
        e.saved[Fact("duration").shape] = b.sub(e.task.now(b)[0], entered)


# -- the return ------------------------------------------------------------------------------------


def compile_returns(guest: Guest, pending: Pending) -> Code:
    """The functions that one guest needs for all its return programs, each of a hit's signature."""
    module = ir.Module("returns")
    abi = architecture(guest.arch).abi
    sp_at = guest.window + 8 * abi.number(abi.stack_pointer)
    for name, emit in (
        (ARRIVED, _arrived),
        (TASK_DEAD, _task_dead),
        (TASK_SWITCHED, _task_switched),
    ):
        function = ir.Function(module, _CALLBACK, name)
        emit(ir.IRBuilder(function.append_basic_block("entry")), pending, sp_at)
    return compile_module(module)


class _Walk:
    """A loop over a list of instances: code is appended for one of them."""

    def __init__(self, b: Any, newest: Any, end: Any) -> None:
        """Begin with the ``newest``, behind its link; go to the block ``end`` when it is over."""
        self._b = b
        with b.goto_entry_block():
            self._link = b.alloca(_WORD)
        b.store(newest, self._link)
        self._again, body = b.append_basic_block("again"), b.append_basic_block("body")
        b.branch(self._again)
        b.position_at_end(self._again)
        self._leads_here = b.load(self._link)
        address = b.load(self._leads_here)
        b.cbranch(b.icmp_unsigned("!=", address, word(0)), body, end)
        b.position_at_end(body)
        self.one = b.inttoptr(address, _WORD)

    def field(self, name: str) -> Any:
        """What a field of it says."""
        return self._b.load(_field(self._b, self.one, name))

    def leave(self) -> None:
        """It stays: go on with the next one."""
        self._b.store(_field(self._b, self.one, "next"), self._link)
        self._b.branch(self._again)

    def take(self) -> None:
        """Take it out."""
        self._b.store(self.field("next"), self._leads_here)

    def go_on(self) -> None:
        """It is out: go on with the next one."""
        self._b.branch(self._again)


def _give_back(b: Any, instance: Any) -> None:
    free = b.inttoptr(b.load(_field(b, instance, "free")), _WORD)
    b.store(b.load(free), _field(b, instance, "next"))
    b.store(b.ptrtoint(instance, I64), free)


def _split(b: Any, condition: Any, other: Any) -> None:
    """Go on if ``condition`` holds, else to the block ``other``."""
    on = b.append_basic_block()
    b.cbranch(condition, on, other)
    b.position_at_end(on)


def _arrived(b: Any, pending: Pending, sp_at: int) -> None:
    """A block begins: perhaps a call has returned."""
    uc, address, size, _ = b.function.args
    with b.goto_entry_block():
        taken, last = b.alloca(I64), b.alloca(_WORD)
        its_key, popped = b.alloca(I64), b.alloca(I64)
    site, nobody = b.append_basic_block("site"), b.append_basic_block("nobody")
    _find_site(b, pending, address, site)
    b.branch(nobody)
    b.position_at_end(nobody)
    b.ret_void()

    b.position_at_end(site)
    sp = b.load(_pointer(b, sp_at))
    newest = _list_of(b, pending, sp)
    returns, none, other = (b.append_basic_block(name) for name in ("returns", "none", "other"))
    b.store(sp, its_key)
    b.store(word(0), popped)
    look = _Walk(b, newest, none)
    key = look.field("key")
    _split(b, b.icmp_unsigned("==", look.field("ret_addr"), address), other)
    candidate, near = b.append_basic_block("candidate"), b.append_basic_block("near")
    b.cbranch(b.icmp_unsigned("==", key, sp), returns, near)
    b.position_at_end(near)
    offset, first = b.sub(sp, key), b.icmp_unsigned("==", b.load(popped), word(0))
    is_near = b.icmp_unsigned("<", b.sub(offset, word(1)), word(RET_IMMEDIATE))
    b.cbranch(b.and_(is_near, first), candidate, other)
    b.position_at_end(candidate)
    b.store(key, popped)
    b.branch(other)
    b.position_at_end(other)
    look.leave()
    b.position_at_end(none)  # arguments were taken off the stack, or nobody has returned
    b.store(b.load(popped), its_key)
    b.cbranch(b.icmp_unsigned("!=", b.load(popped), word(0)), returns, nobody)

    b.position_at_end(returns)
    key = b.load(its_key)
    b.store(word(0), taken)
    b.store(taken, last)
    handle, rest = b.append_basic_block("handle"), b.append_basic_block("rest")
    stays = b.append_basic_block("stays")
    walk = _Walk(b, newest, handle)
    same = b.icmp_unsigned("==", walk.field("key"), key)
    _split(b, b.and_(same, b.icmp_unsigned("==", walk.field("ret_addr"), address)), rest)
    walk.take()
    b.store(word(0), _field(b, walk.one, "next"))
    b.store(b.ptrtoint(walk.one, I64), b.load(last))
    b.store(_field(b, walk.one, "next"), last)
    walk.go_on()
    b.position_at_end(rest)  # what is deeper in this stack never returns
    _split(b, b.icmp_unsigned("<=", walk.field("key"), key), stays)
    _split(b, b.icmp_unsigned("==", _stack(b, walk.field("key")), _stack(b, key)), stays)
    walk.take()
    _give_back(b, walk.one)
    walk.go_on()
    b.position_at_end(stays)
    walk.leave()

    b.position_at_end(handle)
    first = b.load(taken)
    _split(b, b.icmp_unsigned("!=", first, word(0)), nobody)
    one = b.inttoptr(first, _WORD)
    b.store(b.load(_field(b, one, "next")), taken)
    block = b.inttoptr(b.load(_field(b, one, "block")), _WORD)
    returned = b.inttoptr(b.load(_field(b, one, "returned")), RETURNED.as_pointer())
    b.call(returned, [uc, address, size, block, one])
    _give_back(b, one)
    b.branch(handle)


# -- tasks that die --------------------------------------------------------------------------------


def _task_dead(b: Any, pending: Pending, sp_at: int) -> None:
    """A task ends, and runs on until the CPU has left it."""
    b.store(b.load(_pointer(b, sp_at)), _state(b, pending, "dead"))
    b.ret_void()


def _task_switched(b: Any, pending: Pending, _sp_at: int) -> None:
    """The CPU has come to another task: what one that has ended had called never returns."""
    place, end = _state(b, pending, "dead"), b.append_basic_block("end")
    dead = b.load(place)
    _split(b, b.icmp_unsigned("!=", dead, word(0)), end)
    b.store(word(0), place)
    walk, other = _Walk(b, _list_of(b, pending, dead), end), b.append_basic_block("other")
    _split(b, b.icmp_unsigned("==", _stack(b, walk.field("key")), _stack(b, dead)), other)
    walk.take()
    _give_back(b, walk.one)
    walk.go_on()
    b.position_at_end(other)
    walk.leave()
    b.position_at_end(end)
    b.ret_void()
