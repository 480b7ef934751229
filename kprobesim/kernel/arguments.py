"""What a user may pass to a guest function, and how it becomes 64-bit values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from kprobesim.errors import UsageError
from kprobesim.image import Symbol, SymbolTable
from kprobesim.machine.guest import Guest

__all__ = [
    "as_int",
    "as_list",
    "as_result",
    "check_limits",
    "code_address",
    "memory_size",
    "passed",
]

_T = TypeVar("_T")
_MASK = (1 << 64) - 1


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
    return value - (1 << 64) if signed and value >> 63 else value


def check_limits(timeout: float | None, max_instructions: int) -> None:
    """Raise :class:`UsageError` for limits that make no sense."""
    if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
        raise UsageError(f"timeout {timeout!r}: give a positive number of seconds, or None")
    if not 0 <= as_int(max_instructions, "max_instructions") < 1 << 63:
        raise UsageError("max_instructions is a positive number, or 0 for no limit")


def code_address(function: int | str | Symbol, symbols: SymbolTable, machine: Guest) -> int:
    """The address of a function; raises :class:`UsageError` if there is no code."""
    if isinstance(function, str):
        address = symbols[function].address
    elif isinstance(function, Symbol):
        address = function.address
    else:
        address = as_int(function, "function") & _MASK
    if not machine.text.is_code(address):
        raise UsageError(f"{function} is not code: there is no function at {address:#x}")
    return address


@contextmanager
def passed(
    arguments: Sequence[Any],
    machine: Guest,
    alloc: Callable[[int], int],
    free: Callable[[int], None],
) -> Iterator[list[int]]:
    """The values of ``arguments`` for the time of a call.

    What is no number lies in memory from ``alloc(size)``, which gets ``free(address)`` afterwards;
    a ``bytearray`` takes back what the guest has made of it, unless the call failed.
    """
    borrowed: list[tuple[int, bytes | bytearray]] = []
    try:
        values = [_value(argument, machine, alloc, borrowed) for argument in arguments]
        yield values
        for address, data in borrowed:
            if isinstance(data, bytearray):
                data[:] = machine.memory.read(address, len(data))
    finally:
        for address, _ in borrowed:
            free(address)


def _value(
    argument: Any,
    machine: Guest,
    alloc: Callable[[int], int],
    borrowed: list[tuple[int, bytes | bytearray]],
) -> int:
    if argument is None:
        return 0
    if isinstance(argument, Symbol):
        return argument.address
    if isinstance(argument, str):
        argument = argument.encode() + b"\0"
    if isinstance(argument, (bytes, bytearray)):
        address = alloc(max(1, len(argument)))
        borrowed.append((address, argument))
        machine.memory.write(address, bytes(argument))
        return address
    value = as_int(argument, "argument")
    if not -(1 << 63) <= value <= _MASK:
        raise UsageError(f"argument {value:#x} does not fit 64 bits")
    return value & _MASK


def memory_size(memory: int | str) -> int:
    """Bytes from bytes or "256M"; raises :class:`UsageError`."""
    if isinstance(memory, int) and not isinstance(memory, bool):
        return memory
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = str(memory)[:-1], str(memory)[-1:].upper()
    if unit not in units or not number.isdecimal() or len(number) > 18:
        raise UsageError(f"memory {memory!r}: write bytes, or a number with K, M or G")
    return int(number) * units[unit]
