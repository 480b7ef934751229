"""What a user may pass to a guest function, and how it becomes 64-bit values."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from kprobesim.errors import UsageError
from kprobesim.image import Symbol, SymbolTable
from kprobesim.machine.system import System
from kprobesim.sizes import MASK64, signed64

__all__ = [
    "Lender",
    "as_int",
    "as_list",
    "as_number",
    "as_result",
    "check_limits",
    "code_address",
    "give_back",
    "memory_size",
    "name_of",
    "pass_arguments",
]

_T = TypeVar("_T")


def as_int(value: Any, what: str) -> int:
    """``value`` as an integer; raises :class:`UsageError` that names ``what``."""
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(
            f"{what} {value!r} is of type {type(value).__name__}: give an integer"
            + (", str, bytes, bytearray, Symbol or None" if what == "argument" else "")
        ) from None


def as_list(values: Iterable[_T], what: str) -> list[_T]:
    """``values`` as a list; raises :class:`UsageError` that says of ``what``."""
    try:
        return list(values)
    except TypeError:
        raise UsageError(f"{values!r} is of type {type(values).__name__}: give {what}") from None


def as_result(value: int, *, signed: bool) -> int:
    """A function's 64-bit result as the user wants to see it."""
    return signed64(value) if signed else value


def name_of(function: int | str | Symbol, machine: System) -> str:
    """A function as people call it."""
    if isinstance(function, str):
        return function
    if isinstance(function, Symbol):
        return function.name
    name, _, offset = machine.symbolize(function).partition("+")
    return name if offset.startswith("0x0/") else machine.symbolize(function)


def check_limits(timeout: float | None, max_instructions: int) -> None:
    """Raise :class:`UsageError` for limits that make no sense."""
    if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
        raise UsageError(f"timeout {timeout!r}: give a positive number of seconds, or None")
    if not 0 <= as_int(max_instructions, "max_instructions") < 1 << 63:
        raise UsageError("max_instructions is a positive number, or 0 for no limit")


def code_address(function: int | str | Symbol, symbols: SymbolTable, machine: System) -> int:
    """The address of a function; raises :class:`UsageError` if there is no code."""
    if isinstance(function, str):
        address = symbols[function].address
    elif isinstance(function, Symbol):
        address = function.address
    else:
        address = as_int(function, "function") & MASK64
    if not machine.text.is_code(address):
        raise UsageError(f"{function} is not code: there is no function at {address:#x}")
    return address


class Lender(Protocol):
    """Who has memory for arguments; what is lent last is taken back first."""

    def lend(self, number: int, data: bytes | bytearray, guard: bool) -> int:
        """The address of a copy of ``data``, which is argument ``number`` (from 1)."""

    def take_back(self) -> bytes:
        """What has become of the ``data`` that was lent last."""


def pass_arguments(
    arguments: Sequence[Any], lender: Lender, guard: bool
) -> tuple[Sequence[int], list[Any]]:
    """The values of a call's arguments, for the time of the call.

    Args:
        arguments: Whatever a user passes. What is no number gets memory.
        lender: Who has the memory.
        guard: It is to end where a page ends.

    Returns:
        A 64-bit number for each argument, and what has memory now, for :func:`give_back`.

    Raises:
        UsageError: One of them cannot be passed.
    """
    values: list[int] = []
    lent: list[Any] = []
    try:
        for argument in arguments:
            kind = type(argument)
            if kind is int and 0 <= argument <= MASK64:
                values.append(argument)
                continue
            if kind is str or isinstance(argument, str):
                data = argument.encode() + b"\0"
            elif kind is bytes or isinstance(argument, (bytes, bytearray)):
                data = argument
            else:
                values.append(_value(argument))
                continue
            values.append(lender.lend(len(values) + 1, data, guard))
            lent.append(argument)
    except UnicodeEncodeError as error:
        give_back(lent, lender, failed=True)
        raise UsageError(f"argument {argument!r} is no text: give bytes") from error
    except BaseException:
        give_back(lent, lender, failed=True)
        raise
    return values, lent


def give_back(lent: Sequence[Any], lender: Lender, *, failed: bool = False) -> None:
    """A call is over that arguments were ``lent`` for.

    A ``bytearray`` gets what the guest has made of it, unless the call ``failed``: then it may be
    anything.
    """
    if len(lent) == 1 and not isinstance(lent[0], bytearray):
        lender.take_back()
        return
    contents = [lender.take_back() for _ in lent]
    if failed:
        return
    for argument in lent:
        data = contents.pop()
        if isinstance(argument, bytearray):
            argument[:] = data


def _value(argument: Any) -> int:
    """The number that an argument is which takes no memory."""
    if argument is None:
        return 0
    if isinstance(argument, Symbol):
        return argument.address
    value = as_int(argument, "argument")
    if not -(1 << 63) <= value <= MASK64:
        raise UsageError(f"argument {value:#x} does not fit 64 bits")
    return value & MASK64


def as_number(argument: Any) -> int | None:
    """The 64 bits of an argument that takes no memory; ``None`` if it is none."""
    try:
        return _value(argument)
    except UsageError:
        return None


def memory_size(memory: int | str) -> int:
    """Bytes from bytes or "256M"; raises :class:`UsageError`."""
    if isinstance(memory, int) and not isinstance(memory, bool):
        return memory
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = str(memory)[:-1], str(memory)[-1:].upper()
    if unit not in units or not number.isdecimal() or len(number) > 18:
        raise UsageError(f"memory {memory!r}: write bytes, or a number with K, M or G")
    return int(number) * units[unit]
