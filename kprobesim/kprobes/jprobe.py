"""``Jprobe``: a function of yours that is called with the arguments of a kernel function.

setjmp_pre_handler() and longjmp_break_handler() of kernels before 4.15: registers and the top of
the stack are afterwards as they were, whatever has been done to them.
"""

from __future__ import annotations

import ctypes
import errno
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from kprobesim.errors import GuestMemoryError, KprobeError, Reason, UsageError
from kprobesim.kprobes.kprobe import Kprobe, ListType
from kprobesim.machine.system import System
from kprobesim.sizes import PAGE

__all__ = ["Jprobe", "JprobeEntry", "call_with_arguments", "no_jprobes"]

_STACK_SAVED = 64  # MIN_STACK_SIZE of asm/kprobes.h
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class JprobeEntry(Kprobe):
    """The probe at the function's entry; its pre_handler calls :attr:`Jprobe.entry`."""

    __slots__ = ()

    list_type = ListType.JPROBE


class Jprobe:
    """``entry`` is called with the arguments of the probed function, before it runs.

    >>> jp = Jprobe("kernel_clone", entry=lambda args: print(hex(args)))

    Attributes:
        entry: Takes as many arguments as it likes: the first six (x86-64) or eight (ARM64) are the
            argument registers, the others come from the stack, each as an unsigned 64-bit number.
            ``*args`` gets those in registers. What it returns is ignored.
        kp: The probe at the entry, with ``addr``, ``flags`` and ``nmissed``.
        members: The jprobes that stand for it, as :attr:`Kprobe.members`.
    """

    __slots__ = ("entry", "kp", "members")

    def __init__(
        self,
        symbol_name: str | None = None,
        entry: Callable[..., object] | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        flags: int = 0,
    ) -> None:
        self.kp = JprobeEntry(symbol_name, addr=addr, offset=offset, flags=flags)
        self.entry = entry
        self.members: Sequence[Jprobe] = ()

    def __repr__(self) -> str:
        return f"<Jprobe {self.kp.place} nmissed={self.kp.nmissed}>"


def call_with_arguments(machine: System, jp: Jprobe) -> Callable[[Kprobe, Any], int]:
    """The pre_handler of ``jp``; raises :class:`UsageError` if its entry cannot be called."""
    entry = jp.entry
    if not callable(entry):
        raise UsageError(f"entry {entry!r} cannot be called: give a function")
    count = _count(entry, len(machine.cpu.regs_class.ARGUMENTS))
    words, memory, cpu = machine.words, machine.memory, machine.cpu
    stack_pointer = machine.cpu.regs_class.STACK_POINTER

    def setjmp_pre_handler(_p: Kprobe, regs: Any) -> int:
        sp, flags, saved = words[stack_pointer], cpu.read_flags(), bytes(words)
        stack = _top_of_stack(machine, sp)
        arguments = [regs.arg(n) for n in range(count)]
        try:
            entry(*arguments)
        finally:
            if bytes(words) != saved:
                ctypes.memmove(words, saved, len(saved))
            if cpu.read_flags() != flags:
                cpu.write_flags(flags)
            if _top_of_stack(machine, sp) != stack:
                memory.write(sp, stack)
        return 0

    return setjmp_pre_handler


def _count(entry: Callable[..., object], registers: int) -> int:
    try:
        parameters = inspect.signature(entry).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(f"{entry!r} does not say how many arguments it takes") from None
    count = sum(p.kind in _POSITIONAL for p in parameters)
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return max(count, registers)
    return count


def _top_of_stack(machine: System, sp: int) -> bytes:
    """64 bytes, or as many as there are."""
    try:
        return machine.memory.read(sp, _STACK_SAVED)
    except GuestMemoryError:
        return machine.memory.read(sp, -sp % PAGE)


def no_jprobes(jp: Jprobe) -> KprobeError:
    """What a kernel from 4.15 on answers."""
    return KprobeError(
        errno.ENOSYS,
        Reason.NO_JPROBES,
        "this kernel has no jprobes: use a Kprobe with a pre_handler, or load with strict=False",
        symbol=jp.kp.symbol_name,
        address=jp.kp.addr,
    )
