"""The facts "context" and "ids" in compiled code (:mod:`kprobesim.programs.context`).

Each entry of a trace belongs to them, so they may cost little. What they are read from, per-CPU
variables and ``task_struct`` objects, lies where the kernel never maps anything else, so where that
is in the host's memory is kept: by the base of the per-CPU variables, and for some tasks by their
addresses. What is not known yet is translated by walking the guest's tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.task import TaskCode
from kprobesim.programs.compiler.walk import I1, I64, const, host_address, word_at
from kprobesim.programs.context import IRQS_OFF
from kprobesim.programs.guest import Guest
from kprobesim.programs.pending import GOLDEN
from kprobesim.programs.stores.entry_layout import CPU_BIT
from kprobesim.programs.stores.kept_places import KEPT, TASK_BITS, TASKS
from kprobesim.programs.stores.words import address_of

__all__ = ["KeptContext", "cpu_bits", "emit_context"]

_PAIR = ir.LiteralStructType([I64, I64])
_NAME = "context_and_ids"


def cpu_bits(b: ir.IRBuilder, guest: Guest) -> ir.Value:
    """The number of the CPU as stamps have it, above the word "ids"."""
    return b.shl(word_at(b, guest.cpu), const(CPU_BIT))


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


class KeptContext:
    """Emits what reads per-CPU variables and tasks whose places in the host's memory are kept.

    Attributes:
        context: The word "context", where no sign says that it is stale.
        ids: The word "ids", with the number of the CPU as stamps have it.
    """

    context: ir.Value
    ids: ir.Value

    def __init__(self, b: ir.IRBuilder, guest: Guest) -> None:
        self._b, self._guest = b, guest

    def stale_signs(self) -> Iterator[ir.Value]:
        """Emit both words: no call, no walk; and before them what is 0 unless they are stale.

        Each is to be looked at before the next is emitted.
        """
        b, guest = self._b, self._guest
        yield b.xor(self._base(), self._kept("base"))
        if not guest.tasks.are_known:
            self.context, self.ids = self._irqs_off(), self._kept("cpu")
            return
        place = guest.tasks.place
        count: ir.Value = const(0)
        if place.register:
            current = word_at(b, guest.control[place.register])
        elif not self._can_keep:
            yield const(1)
            current = const(0)
        else:
            current, count = self._per_cpu()
        yield b.xor(current, self._kept("current"))
        context = b.or_(self._irqs_off(), count)
        self.context, ids = self._members(context, self._kept("task_at"))
        self.ids = b.or_(ids, self._kept("cpu"))

    def _place(self, name: str) -> ir.Value:
        kept = const(address_of(self._guest.kept, KEPT.index(name)))
        return self._b.inttoptr(kept, I64.as_pointer())

    def _kept(self, name: str) -> ir.Value:
        return self._b.load(self._place(name))

    def _irqs_off(self) -> ir.Value:
        b, guest = self._b, self._guest
        bit, when_off = IRQS_OFF[guest.arch]
        flag = b.and_(word_at(b, guest.flags), const(bit))
        return b.shl(b.zext(b.icmp_unsigned("==", flag, const(when_off)), I64), const(63))

    @property
    def _can_keep(self) -> bool:
        """Whether per-CPU variables tell all that no task does."""
        place, places = self._guest.tasks.place, self._guest.places
        return place.variable is not None and not (place.bases and places.preempt_variable is None)

    @property
    def _variables(self) -> dict[str, int]:
        """The per-CPU variables that are read, by where their places are kept."""
        place, places = self._guest.tasks.place, self._guest.places
        if place.register or place.variable is None or not self._guest.tasks.are_known:
            return {}
        found = {"current_at": place.variable or 0}
        if place.bases:
            found["count_at"] = places.preempt_variable or 0
        return found

    def _base(self) -> ir.Value:
        """Of the per-CPU variables; where none is needed the CPU's number, which tells as much."""
        place, control = self._guest.tasks.place, self._guest.control
        if place.register or not place.bases:
            return word_at(self._b, self._guest.cpu)
        return word_at(self._b, control[place.bases[0]])

    def _per_cpu_base(self) -> ir.Value:
        """What is added to the addresses of per-CPU variables."""
        return self._base() if self._guest.tasks.place.bases else const(0)

    def _per_cpu(self) -> tuple[ir.Value, ir.Value]:
        """The variables for the running task and for ``preempt_count``."""
        b, places = self._b, self._guest.places
        current = word_at(b, self._kept("current_at"))
        if "count_at" not in self._variables:
            return current, const(0)
        width = ir.IntType(8 * places.preempt_bytes)
        number = b.load(b.inttoptr(self._kept("count_at"), width.as_pointer()))
        return current, self._narrow(number if width == I64 else b.zext(number, I64))

    def _narrow(self, number: ir.Value) -> ir.Value:
        """``preempt_count`` in 32 bits, its highest bit in the highest of those."""
        b = self._b
        if self._guest.places.preempt_bytes != 8:
            return number
        top = b.shl(b.lshr(number, const(63)), const(31))
        return b.or_(b.and_(number, const(0x7FFF_FFFF)), top)

    def _members(self, context: ir.Value, host: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Both words with what the task at an address of the host's says."""
        b, places, offsets = self._b, self._guest.places, self._guest.tasks.offsets

        def member(offset: int, bits: int) -> ir.Value:
            kind = ir.IntType(bits)
            found = b.load(b.inttoptr(b.add(host, const(offset)), kind.as_pointer()), align=1)
            return found if bits == 64 else b.zext(found, I64)

        if places.preempt_variable is None and places.preempt_member is not None:
            context = b.or_(context, member(places.preempt_member, 32))
        if places.flags_member is not None:
            context = b.or_(context, b.shl(member(places.flags_member, 16), const(32)))
        if places.migration_member is not None:
            context = b.or_(context, b.shl(member(places.migration_member, 8), const(48)))
        if places.softirq_member is not None:
            softirqs = b.and_(b.lshr(member(places.softirq_member, 16), const(8)), const(0x7F))
            context = b.or_(context, b.shl(softirqs, const(56)))
        if offsets["tgid"] == offsets["pid"] + 4:
            return context, member(offsets["pid"], 64)
        tgid = b.shl(member(offsets["tgid"], 32), const(32))
        return context, b.or_(member(offsets["pid"], 32), tgid)


class _Function(KeptContext):
    """The body of the function that is called, and keeps what it has found."""

    def __init__(
        self, b: ir.IRBuilder, guest: Guest, memory: GuestMemoryCode, task: TaskCode
    ) -> None:
        super().__init__(b, guest)
        self._memory, self._task = memory, task

    def emit(self) -> None:
        """Append the code: the task's flags and counts where one is known, else what there is."""
        b = self._b
        b.store(cpu_bits(b, self._guest), self._place("cpu"))
        if not self._variables:
            b.store(self._base(), self._place("base"))
        off = self._irqs_off()
        if not self._guest.tasks.are_known:
            b.ret(_pair(b, off, const(0)))
            return
        current, count = self._current_and_count()
        context = b.or_(off, count)
        none = b.append_basic_block("none")
        host = self._host_of_task(current, none)
        b.ret(_pair(b, *self._members(context, host)))
        b.position_at_end(none)
        b.ret(_pair(b, context, const(0)))

    # -- the task that runs ------------------------------------------------------------------------

    def _current_and_count(self) -> tuple[ir.Value, ir.Value]:
        """The running task, 0 if there is none, and preempt_count if that is per CPU."""
        b, guest = self._b, self._guest
        place = guest.tasks.place
        known, other, end = (b.append_basic_block(name) for name in ("known", "other", "end"))
        if place.register:
            current, count = word_at(b, guest.control[place.register]), const(0)
            b.cbranch(b.icmp_signed("<", current, const(0)), known, other)
            b.position_at_end(known)
        elif not self._can_keep:
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
        b, guest, variables = self._b, self._guest, self._variables
        new = b.append_basic_block("new")
        base = self._base()
        b.cbranch(b.icmp_unsigned("==", base, self._kept("base")), known, new)
        b.position_at_end(new)
        places = [b.add(self._per_cpu_base(), const(at)) for at in variables.values()]
        hosts = [b.call(host_address(b.module, guest), [place]) for place in places]
        there = b.icmp_signed("<", places[0], const(0))  # the kernel's
        for host in hosts:
            there = b.and_(there, b.icmp_unsigned("!=", host, const(0)))
        keep = b.append_basic_block("keep")
        b.cbranch(there, keep, other)
        b.position_at_end(keep)
        for name, value in zip(("base", *variables), (base, *hosts), strict=True):
            b.store(value, self._place(name))
        b.branch(known)

        b.position_at_end(known)
        current, count = self._per_cpu()
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

    def _host_of_task(self, current: ir.Value, none: ir.Block) -> ir.Value:
        """Where a task is in the host's memory; code goes to ``none`` if it is nowhere."""
        b, guest = self._b, self._guest
        number = b.lshr(b.mul(current, const(GOLDEN)), const(64 - TASK_BITS))
        at = b.add(b.shl(number, const(4)), const(address_of(guest.kept, TASKS)))
        key = b.inttoptr(at, I64.as_pointer())
        value = b.inttoptr(b.add(at, const(8)), I64.as_pointer())
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
        found = b.load(value)
        b.store(current, self._place("current"))
        b.store(found, self._place("task_at"))
        return found


def _is(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.icmp_unsigned("!=", address, const(0))


def _pair(b: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    whole = b.insert_value(ir.Constant(_PAIR, ir.Undefined), one, 0)
    return b.insert_value(whole, other, 1)
