"""Whose hit it is, where and when, in compiled code: the task, the CPU, the caller, the time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

from llvmlite import ir

from kprobesim.arch.abi import Abi
from kprobesim.inside.tasks import TASK_COMM_LEN
from kprobesim.machine.stopwatch import INSTRUCTION_NS
from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.refusal import NotCompiledError
from kprobesim.programs.compiler.stack_id import stack_number, unwound_number
from kprobesim.programs.compiler.walk import I1, I64, const, word_at
from kprobesim.programs.guest import Guest

__all__ = ["TaskCode"]

_KERNEL = 63  # the bit that tells an address of the kernel
_Fetched = tuple[ir.Value, ir.Value]  # i64, and i1: it is a fault, and the number 0


class TaskCode:
    """Emits the facts of a hit on ``guest``; each as ``i64`` and ``i1``: it is a fault.

    What :class:`~kprobesim.programs.task.TaskFacts` says, an interpreter's programs are told.

    Attributes:
        before_instruction: Whether it is the start of a block, before its first instruction has
            been counted where instructions are.
    """

    def __init__(self, guest: Guest, memory: GuestMemoryCode, abi: Abi) -> None:
        self._guest = guest
        self._memory = memory
        self._abi = abi
        self.before_instruction = False

    def _register(self, b: ir.IRBuilder, name: str) -> ir.Value:
        return word_at(b, self._guest.window + 8 * self._abi.number(name))

    def current(self, b: ir.IRBuilder) -> _Fetched:
        """The address of the ``task_struct``; a fault as long as there is none."""
        guest, place = self._guest, self._guest.tasks.place
        register: ir.Value = const(0)
        if place.register:
            register = word_at(b, guest.control[place.register])
        if place.variable is None:
            return register, _is_no_kernels(b, register)
        address: ir.Value = const(place.variable)
        for name in reversed(place.bases):
            based = b.add(word_at(b, guest.control[name]), const(place.variable))
            no = _is_no_kernels(b, based)
            address = based if name == place.bases[-1] else b.select(no, address, based)
        value, fault = self._memory.read(b, address, 8)
        fault = b.or_(fault, _is_no_kernels(b, value))
        if not place.register:
            return value, fault
        unset = _is_no_kernels(b, register)
        return b.select(unset, value, register), b.and_(unset, fault)

    def per_cpu(self, b: ir.IRBuilder) -> _Fetched:
        """What is added to the address of a per-CPU variable."""
        found: ir.Value = const(0)
        for name in reversed(self._guest.tasks.place.bases):
            base = word_at(b, self._guest.control[name])
            last = name == self._guest.tasks.place.bases[-1]
            found = base if last else b.select(_is_no_kernels(b, base), found, base)
        return found, ir.Constant(I1, 0)

    def pid(self, b: ir.IRBuilder) -> _Fetched:
        """The thread's, sign-extended."""
        return self._member(b, "pid")

    def tgid(self, b: ir.IRBuilder) -> _Fetched:
        """The process's, sign-extended."""
        return self._member(b, "tgid")

    def _member(self, b: ir.IRBuilder, name: str) -> _Fetched:
        task, no_task = self.current(b)
        place = b.add(task, const(self._guest.tasks.offsets[name]))
        value, fault = self._memory.read(b, place, 4)
        number = b.sext(b.trunc(value, ir.IntType(32)), I64)
        fault = b.or_(no_task, fault)
        return b.select(fault, const(0), number), fault

    def comm(self, b: ir.IRBuilder, out: ir.Value) -> ir.Value:
        """Write the task's name to ``out``, 16 bytes, with zeroes behind it; whether it faults."""
        task, no_task = self.current(b)
        place = b.add(task, const(self._guest.tasks.offsets["comm"]))
        length = self._memory.read_string(b, place, out, TASK_COMM_LEN)
        return b.or_(no_task, b.icmp_signed("<", length, const(0)))

    def cpu(self, b: ir.IRBuilder) -> _Fetched:
        """The number of the CPU."""
        return word_at(b, self._guest.cpu), ir.Constant(I1, 0)

    def now(self, b: ir.IRBuilder) -> _Fetched:
        """The guest's time in nanoseconds.

        Raises:
            NotCompiledError: The host's clock makes it, which compiled code does not read.
        """
        time = self._guest.time()
        if time is None:
            raise NotCompiledError("this guest's time is the host's, which needs Python")
        base, rate, counter = (word_at(b, address) for address in time)
        if self.before_instruction:
            uncounted = b.icmp_unsigned("==", rate, const(INSTRUCTION_NS))
            counter = b.add(counter, b.zext(uncounted, I64))
        return b.add(base, b.mul(counter, rate)), ir.Constant(I1, 0)

    def caller(self, b: ir.IRBuilder) -> _Fetched:
        """The return address, at a function's first instruction."""
        link, fault = self._abi.link_register, ir.Constant(I1, 0)
        if link is not None:
            found = self._register(b, link)
        else:
            found, fault = self._memory.read(b, self._register(b, self._abi.stack_pointer), 8)
        real = word_at(b, ctypes.addressof(self._guest.caller))
        return b.select(b.icmp_unsigned("==", real, const(0)), found, real), fault

    def stack_pointer_after_return(self, b: ir.IRBuilder) -> ir.Value:
        """What the stack pointer is when the function has returned, at its first instruction."""
        return b.add(self._register(b, self._abi.stack_pointer), const(self._abi.return_bytes))

    def stack_id(self, b: ir.IRBuilder, here: ir.Value, caller: _Fetched | None = None) -> _Fetched:
        """The number of the stack of callers.

        Args:
            b: Where to emit it.
            here: Where the CPU is: at a probe.
            caller: The innermost caller; ``None``: that of a function that begins here.
        """
        if not self._guest.has_frames:
            return self.unwound(b, here, caller)
        address, fault = self.caller(b) if caller is None else caller
        number = b.call(stack_number(b.module, self._guest, self._memory), [address])
        return number, b.or_(fault, b.icmp_signed("<", number, const(0)))

    def unwound(
        self, b: ir.IRBuilder, here: ir.Value, returned: _Fetched | None = None
    ) -> _Fetched:
        """As the unwinder tells it, which is called back; ``returned`` as for the interpreter."""
        fault = ir.Constant(I1, 0)
        ip, first = here, const(0)
        if returned is not None:
            ip, fault = returned
            first = ip
        number = b.call(unwound_number(b.module, self._guest), [ip, first])
        return number, b.or_(fault, b.icmp_signed("<", number, const(0)))

    @property
    def facts(self) -> Mapping[str, Callable[[ir.IRBuilder], _Fetched]]:
        """What gives each of the numbers, by its name."""
        return {
            "current": self.current,
            "pid": self.pid,
            "tgid": self.tgid,
            "cpu": self.cpu,
            "now": self.now,
            "per_cpu": self.per_cpu,
            "caller": self.caller,
        }


def _is_no_kernels(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.not_(b.trunc(b.lshr(address, const(_KERNEL)), I1))
