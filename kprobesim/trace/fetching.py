"""What a definition reads, as values of a program (kernel/trace/trace_probe_tmpl.h).

Each argument becomes one value, an array one for each element. Where a number cannot be read, the
kernel leaves in its record what was there before, most often zeroes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from kprobesim.arch.architecture import architecture, halves
from kprobesim.dynevent import fetch as f
from kprobesim.dynevent.definition import ProbeArgument, ProbeDefinition
from kprobesim.dynevent.fetch_type import FetchType
from kprobesim.programs.choices import or_else, select
from kprobesim.programs.leaves import Argument, Fact, Register, Result, StackArgument
from kprobesim.programs.types import SIZES, U64, Int
from kprobesim.programs.values import Load, Text, TextConst, Value, as_value
from kprobesim.sizes import MASK64

__all__ = ["Fetching", "Place"]

_STACK_BYTES = 16 << 10  # THREAD_SIZE
_STRING = 4096  # MAX_STRING_SIZE
_KERNEL_CS, _KERNEL_DS = 0x10, 0x18
_INT3_BYTES = 1
_RETURNS_THERE, _TRAMPOLINE = (5, 15), "kretprobe_trampoline"
_FLAGS = halves(x86_64="flags", arm64="pstate")
_SYMBOL = re.compile(r"([^+-]+)(?:([+-])(.+))?")
_LINK = "lr"  # regs_query_register_offset() knows x30 by that name, too


class Place(Protocol):
    """What a definition's symbols stand for."""

    def __call__(self, symbol: str) -> int:
        """The address of a symbol."""


class Fetching:
    """Makes values for one architecture."""

    def __init__(self, arch: str, version: tuple[int, ...], place: Place) -> None:
        """Make none yet.

        Args:
            arch: "x86_64" or "arm64".
            version: The kernel's.
            place: Tells the addresses of symbols.
        """
        self._abi = abi = architecture(arch).abi
        self._version = version
        self._place = place
        self._flags = _FLAGS[arch]
        self._returns = self._ftrace = False
        self._make: dict[type[Any], Callable[[Any], Value]] = {
            f.Register: lambda one: self._register(one.name),
            f.Stack: lambda one: self._stack(one.index),
            f.StackPointer: lambda one: Register(abi.stack_pointer),
            f.Retval: lambda one: Result(),
            f.CurrentTask: lambda one: Fact("current"),
            f.Argument: lambda one: self._argument(one.number),
            f.Immediate: lambda one: as_value(one.value & MASK64),
            f.Address: self._address,
            f.ThisCpu: lambda one: self._make[type(one.inner)](one.inner) + Fact("per_cpu"),
            f.Memory: lambda one: self._pointer(one).deref(0),
            f.Deref: self._word,
        }

    def values(self, definition: ProbeDefinition, *, ftrace: bool = False) -> list[list[Value]]:
        """The values of each argument: one, or those of an array's elements.

        Args:
            definition: The definition.
            ftrace: Whether the kernel's probe goes through ftrace.
        """
        self._returns, self._ftrace = definition.returns, ftrace
        return [self._values(argument) for argument in definition.arguments]

    def _values(self, argument: ProbeArgument) -> list[Value]:
        fetch, kind = argument.fetch, argument.type
        if isinstance(fetch, f.Comm):
            return [Fact("comm")]
        if isinstance(fetch, f.ImmediateString):
            return [TextConst(fetch.text.encode())]
        if isinstance(fetch, (f.Memory, f.Deref)):
            at, user = self._pointer(fetch), isinstance(fetch, f.Deref) and fetch.user
            return [self._read(at, n, kind, user) for n in range(kind.count or 1)]
        value = self._make[type(fetch)](fetch)
        return [_narrowed(value, kind)]

    # -- the last step -----------------------------------------------------------------------------

    def _read(self, at: Value, number: int, kind: FetchType, user: bool) -> Value:
        """Element ``number`` of what is at an address."""
        if kind.name in ("string", "ustring"):
            if kind.count:
                at = _load(at, 8 * number, U64, user)
            return Text(at, _STRING, user or kind.name == "ustring", nonempty=True)
        if kind.name == "symstr":
            return _load(at, 8 * number, U64, user)
        base = _base(kind)
        value = _load(at, number * base.size, base, user)
        return value if kind.bitfield is None else _bits(value, kind)

    # -- where it comes from -----------------------------------------------------------------------

    def _pointer(self, fetch: f.Memory | f.Deref) -> Value:
        """The address that is read."""
        if isinstance(fetch, f.Memory):
            return self._address(fetch.place)
        inner = self._make[type(fetch.inner)](fetch.inner)
        return inner if not fetch.offset else inner + (fetch.offset & MASK64)

    def _address(self, place: f.Address) -> Value:
        if place.symbol is None:
            return as_value(place.address)
        name, sign, offset = _SYMBOL.fullmatch(place.symbol).groups()  # type: ignore[union-attr]
        start = self._place(name)
        return as_value(start + int(f"{sign}{offset}", 0) & MASK64 if sign else start)

    def _word(self, fetch: f.Deref) -> Value:
        return _load(self._pointer(fetch), 0, U64, fetch.user)

    def _register(self, name: str) -> Value:
        abi = self._abi
        if name == _LINK and abi.link_register is not None:
            name = abi.link_register
        if name in abi.registers or name == self._flags:
            return Register(name)
        if name == abi.program_counter:
            return self._program_counter()
        of_ftrace = 0 if self._ftrace and not self._returns else MASK64
        return as_value({"cs": _KERNEL_CS, "ss": _KERNEL_DS}.get(name, of_ftrace))  # orig_ax

    def _program_counter(self) -> Value:
        """As handlers see it: behind INT3, which an ftrace site and a jump imitate.

        At a return it is where that goes to, before 5.15 the trampoline, or nothing.
        """
        if self._returns:
            if self._version >= _RETURNS_THERE:
                return or_else(Fact("caller"), 0)
            return as_value(self._place(_TRAMPOLINE) if self._abi.pushes_return else 0)
        here = Fact("here")
        return here + _INT3_BYTES if self._abi.pushes_return else here

    def _stack(self, index: int) -> Value:
        """``regs_get_kernel_stack_nth()``: 0 outside of the stack that the pointer is in."""
        sp = Register(self._abi.stack_pointer)
        at = sp + 8 * index
        same = ((at ^ sp) & (MASK64 ^ (_STACK_BYTES - 1))) == 0
        return select(same, or_else(at.deref(0), 0), 0)

    def _argument(self, number: int) -> Value:
        """``regs_get_kernel_argument()``."""
        registers = len(self._abi.arguments)
        if number <= registers:
            return Argument(number - 1)
        if not self._abi.pushes_return:
            return as_value(0)
        if self._returns:
            return StackArgument(number - 1)
        return self._stack(number - registers)


def _load(at: Value, offset: int, kind: Int, user: bool) -> Value:
    return replace(at.uderef(offset) if user else at.deref(offset), kind=kind)


def _base(kind: FetchType) -> Int:
    """The integer that is stored."""
    return SIZES[f"{'s' if kind.signed else 'u'}{kind.bits}"]


def _narrowed(value: Value, kind: FetchType) -> Value:
    """A value that is no memory, as its type stores it."""
    if kind.name in ("symbol", "symstr"):
        return value
    if isinstance(value, Load) or kind.bits < 64 or kind.signed:
        value = _as(value, _base(kind))
    return value if kind.bitfield is None else _bits(value, kind)


def _bits(value: Value, kind: FetchType) -> Value:
    """``fetch_apply_bitfield()``: up to the upper end of its integer, and down again."""
    assert kind.bitfield is not None
    width, offset = kind.bitfield
    shifted = value << (kind.bits - width - offset) if kind.bits != width + offset else value
    whole = _as(shifted, SIZES[f"u{kind.bits}"])
    return whole if kind.bits == width else whole >> (kind.bits - width)


def _as(value: Value, kind: Int) -> Value:
    found: Value = getattr(value, str(kind))
    return found
