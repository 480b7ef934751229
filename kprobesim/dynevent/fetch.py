"""What an argument of a definition reads: a tree of few kinds (kernel/trace/trace_probe.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kprobesim.hexrepr import HexRepr

__all__ = [
    "Address",
    "Argument",
    "Cast",
    "Comm",
    "CurrentTask",
    "Deref",
    "Fetch",
    "Field",
    "Immediate",
    "ImmediateString",
    "Memory",
    "Register",
    "Retval",
    "Stack",
    "StackPointer",
    "ThisCpu",
    "Variable",
]


@dataclass(frozen=True)
class Register:
    """``%di``: a register by the kernel's name of it (``Abi.pt_regs``)."""

    name: str


@dataclass(frozen=True)
class Stack:
    """``$stack3``: word ``index`` of the kernel's stack, 0 where that leaves the stack."""

    index: int


@dataclass(frozen=True)
class StackPointer:
    """``$stack``: the stack pointer."""


@dataclass(frozen=True)
class Retval:
    """``$retval``: the function's result."""


@dataclass(frozen=True)
class Comm:
    """``$comm``: the name of the task that runs."""


@dataclass(frozen=True)
class CurrentTask:
    """``$current``: the address of the ``task_struct`` of the task that runs (newest kernels)."""


@dataclass(frozen=True)
class Argument:
    """``$arg1``: the function's argument, counted from 1; in a return probe, as it was at entry."""

    number: int


@dataclass(frozen=True, repr=False)
class Immediate(HexRepr):
    r"""``\42``: the value itself, of 64 bits and unsigned."""

    value: int


@dataclass(frozen=True)
class ImmediateString:
    r"""``\"text"``: the text itself."""

    text: str


@dataclass(frozen=True, repr=False)
class Address(HexRepr):
    """A fixed place in the kernel; it is a value only inside of :class:`ThisCpu`.

    Attributes:
        address: Where; 0 where a symbol says so.
        symbol: ``SYMBOL``, ``SYMBOL+8``: looked up when the event is registered; ``None``:
            ``address`` is all.
    """

    address: int = 0
    symbol: str | None = None


@dataclass(frozen=True)
class Memory:
    """``@ADDRESS``, ``@SYMBOL+8``: reads at a fixed place, as :class:`Deref` does.

    Attributes:
        place: Where.
    """

    place: Address


@dataclass(frozen=True)
class ThisCpu:
    """``this_cpu_ptr(FETCH)``: where this CPU has its own of a per-CPU variable (7.3)."""

    inner: Fetch


@dataclass(frozen=True)
class Deref:
    """``+8(%di)``, ``+u8(%di)``: reads where another value points to.

    As the outermost of an argument, it reads as its type says; inside of another one, a word of 64
    bits.

    Attributes:
        inner: The pointer.
        offset: Bytes from there, signed.
        user: Read as user space's memory.
    """

    inner: Fetch
    offset: int
    user: bool = False


@dataclass(frozen=True)
class Variable:
    """``file->f_path.dentry`` where no types are known that could tell where that is.

    Attributes:
        name: The function's argument, ``$retval``, ``$current``, or ``$arg*`` for all of them.
        members: What is read of it, from the first on.
    """

    name: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cast:
    """``(file)%di->f_pos`` where no types are known.

    Attributes:
        inner: The pointer.
        structure: The struct that it is taken for.
        members: What is read of that, from the first on.
    """

    inner: Fetch
    structure: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """``$prev_pid``: a field of the event that an event probe is on, by its name."""

    name: str


Fetch: TypeAlias = (
    Register
    | Stack
    | StackPointer
    | Retval
    | Comm
    | CurrentTask
    | Argument
    | Immediate
    | ImmediateString
    | Memory
    | Deref
    | Address
    | ThisCpu
    | Variable
    | Cast
    | Field
)
