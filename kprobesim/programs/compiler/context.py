"""The facts "context" and "ids" in compiled code (:mod:`kprobesim.programs.context`).

Each entry of a trace has them, so they may cost little. What they are read from, per-CPU variables
and ``task_struct`` objects, lies where the kernel never maps anything else, so where that is in the
host's memory is kept: by the base of the per-CPU variables, and for some tasks by their addresses.
What is not known yet is translated by walking the guest's tables.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.task import TaskCode
from kprobesim.programs.compiler.walk import I1, I64, const, host_address, word_at
from kprobesim.programs.context import IRQS_OFF
from kprobesim.programs.guest import Guest
from kprobesim.programs.pending import GOLDEN

__all__ = ["emit_context"]

_PAIR = ir.LiteralStructType([I64, I64])
_NAME, _KEPT = "context_and_ids", "context_places"
_TASK_BITS = 6
_BASE, _CURRENT, _COUNT, _TASKS = range(4)  # words that are kept: places, then pairs of tasks
_NOBODY = 1  # no base, and no task, has that address


def emit_context(
    b: ir.IRBuilder, guest: Guest, memory: GuestMemoryCode, task: TaskCode
) -> tuple[ir.Value, ir.Value]:
    """Append a call that gives the words "context" and "ids"."""
    function = b.module.globals.get(_NAME)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_PAIR, []), _NAME)
        function.linkage = "internal"
        _Function(ir.IRBuilder(function.append_basic_block("entry")), guest, memory, task).emit()
    pair = b.call(function, [])
    return b.extract_value(pair, 0), b.extract_value(pair, 1)


class _Function:
    """The body of the function that is called."""

    def __init__(
        self, b: ir.IRBuilder, guest: Guest, memory: GuestMemoryCode, task: TaskCode
    ) -> None:
        self._b, self._guest, self._memory, self._task = b, guest, memory, task
        words = [_NOBODY] * (_TASKS + (2 << _TASK_BITS))
        kind = ir.ArrayType(I64, len(words))
        self._kept = ir.GlobalVariable(b.module, kind, _KEPT)
        self._kept.linkage = "internal"
        self._kept.initializer = ir.Constant(kind, words)

    def emit(self) -> None:
        """Append the code: the task's flags and counts where one is known, else what there is."""
        b, guest = self._b, self._guest
        bit, when_off = IRQS_OFF[guest.arch]
        flag = b.and_(word_at(b, guest.flags), const(bit))
        off = b.shl(b.zext(b.icmp_unsigned("==", flag, const(when_off)), I64), const(63))
        if not guest.tasks.are_known:
            b.ret(_pair(b, off, const(0)))
            return
        current, count = self._current_and_count()
        context = b.or_(off, count)
        none = b.append_basic_block("none")
        host = self._host_of_task(current, none)
        self._read_members(context, host)
        b.position_at_end(none)
        b.ret(_pair(b, context, const(0)))

    def _word(self, index: int | ir.Value) -> ir.Value:
        at = const(index) if isinstance(index, int) else index
        return self._b.gep(self._kept, [const(0), at])

    # -- the task that runs ------------------------------------------------------------------------

    def _current_and_count(self) -> tuple[ir.Value, ir.Value]:
        """The running task, 0 if there is none, and preempt_count if that is per CPU."""
        b, guest = self._b, self._guest
        place, places = guest.tasks.place, guest.places
        known, other, end = (b.append_basic_block(name) for name in ("known", "other", "end"))
        if place.register:
            current, count = word_at(b, guest.control[place.register]), const(0)
            b.cbranch(b.icmp_signed("<", current, const(0)), known, other)
            b.position_at_end(known)
        elif place.variable is None or places.preempt_variable is None or not place.bases:
            b.branch(other)
            b.position_at_end(known)
            current = count = const(0)
        else:
            current, count = self._kept_for_base(known, other)
        known = b.block
        b.branch(end)

        b.position_at_end(other)
        walked = self._walked()
        other = b.block
        b.branch(end)

        b.position_at_end(end)
        found: list[Any] = [b.phi(I64), b.phi(I64)]
        for phi, one, another in zip(found, (current, count), walked, strict=True):
            phi.add_incoming(one, known)
            phi.add_incoming(another, other)
        return found[0], found[1]

    def _kept_for_base(self, known: ir.Block, other: ir.Block) -> tuple[ir.Value, ir.Value]:
        """The same in the block ``known``, by what is kept of a base; ``other``: of none."""
        b, guest = self._b, self._guest
        place, places = guest.tasks.place, guest.places
        assert place.variable is not None
        assert places.preempt_variable is not None
        new = b.append_basic_block("new")
        base = word_at(b, guest.control[place.bases[0]])
        b.cbranch(b.icmp_unsigned("==", base, b.load(self._word(_BASE))), known, new)
        b.position_at_end(new)
        hosts = [
            b.call(host_address(b.module, guest), [b.add(base, const(variable))])
            for variable in (place.variable, places.preempt_variable)
        ]
        there = b.icmp_signed("<", b.add(base, const(place.variable)), const(0))  # the kernel's
        for host in hosts:
            there = b.and_(there, b.icmp_unsigned("!=", host, const(0)))
        keep = b.append_basic_block("keep")
        b.cbranch(there, keep, other)
        b.position_at_end(keep)
        for index, value in zip((_BASE, _CURRENT, _COUNT), (base, *hosts), strict=True):
            b.store(value, self._word(index))
        b.branch(known)

        b.position_at_end(known)
        current = word_at(b, b.load(self._word(_CURRENT)))
        width = ir.IntType(8 * places.preempt_bytes)
        number = b.load(b.inttoptr(b.load(self._word(_COUNT)), width.as_pointer()))
        count = self._narrow(number if width == I64 else b.zext(number, I64))
        is_kernels = b.icmp_signed("<", current, const(0))
        return b.select(is_kernels, current, const(0)), count

    def _walked(self) -> tuple[ir.Value, ir.Value]:
        """The same, by whatever may lead there."""
        b, guest, places = self._b, self._guest, self._guest.places
        count: ir.Value = const(0)
        if places.preempt_variable is not None:
            for name in reversed(guest.tasks.place.bases):
                based = b.add(word_at(b, guest.control[name]), const(places.preempt_variable))
                number, _ = self._memory.read(b, based, places.preempt_bytes)
                is_kernels = b.trunc(b.lshr(based, const(63)), I1)
                count = b.select(is_kernels, self._narrow(number), count)
        current, no_task = self._task.current(b)
        return b.select(no_task, const(0), current), count

    def _narrow(self, number: ir.Value) -> ir.Value:
        """``preempt_count`` in 32 bits, its highest bit in the highest of those."""
        b = self._b
        if self._guest.places.preempt_bytes != 8:
            return number
        top = b.shl(b.lshr(number, const(63)), const(31))
        return b.or_(b.and_(number, const(0x7FFF_FFFF)), top)

    def _host_of_task(self, current: ir.Value, none: ir.Block) -> ir.Value:
        """Where a task is in the host's memory; code goes to ``none`` if it is nowhere."""
        b, guest = self._b, self._guest
        number = b.lshr(b.mul(current, const(GOLDEN)), const(64 - _TASK_BITS))
        at = b.add(b.shl(number, const(1)), const(_TASKS))
        key, value = self._word(at), self._word(b.add(at, const(1)))
        known, new = b.append_basic_block("known_task"), b.append_basic_block("new_task")
        b.cbranch(b.icmp_unsigned("==", b.load(key), current), known, new)
        b.position_at_end(new)
        host = b.call(host_address(b.module, guest), [current])
        is_there = b.icmp_unsigned("!=", b.select(_is(b, current), host, const(0)), const(0))
        keep = b.append_basic_block("keep_task")
        b.cbranch(is_there, keep, none)
        b.position_at_end(keep)
        b.store(current, key)
        b.store(host, value)
        b.branch(known)
        b.position_at_end(known)
        return b.load(value)

    def _read_members(self, context: ir.Value, host: ir.Value) -> None:
        """Return both words with what the task at an address of the host's says."""
        b, places, offsets = self._b, self._guest.places, self._guest.tasks.offsets

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
        if places.softirq_member is not None:
            softirqs = b.and_(b.lshr(member(places.softirq_member, 16), const(8)), const(0x7F))
            context = b.or_(context, b.shl(softirqs, const(56)))
        tgid = b.shl(member(offsets["tgid"], 32), const(32))
        b.ret(_pair(b, context, b.or_(member(offsets["pid"], 32), tgid)))


def _is(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.icmp_unsigned("!=", address, const(0))


def _pair(b: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    whole = b.insert_value(ir.Constant(_PAIR, ir.Undefined), one, 0)
    return b.insert_value(whole, other, 1)
