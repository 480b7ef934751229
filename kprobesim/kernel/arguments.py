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
    "Passed",
    "are_plain",
    "as_int",
    "as_list",
    "as_result",
    "check_limits",
    "code_address",
    "memory_size",
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


def are_plain(arguments: Sequence[Any]) -> bool:
    """Whether all of them are 64-bit numbers already, so that there is nothing to do."""
    for argument in arguments:
        if type(argument) is not int or not 0 <= argument <= MASK64:
            return False
    return True


class Lender(Protocol):
    """Who has memory for arguments; what is lent last is taken back first."""

    def lend(self, number: int, data: bytes | bytearray, *, guard: bool) -> int:
        """The address of a copy of ``data``, which is argument ``number`` (from 1)."""

    def take_back(self) -> bytes:
        """What has become of the ``data`` that was lent last."""


class Passed:
    """Context manager: the values of a call's arguments, for the time of the call.

    What is no number is lent by ``lender``. A ``bytearray`` takes back what the guest has made of
    it, unless the call failed.
    """

    __slots__ = ("_arguments", "_guard", "_lender", "_lent")

    def __init__(self, arguments: Sequence[Any], lender: Lender, *, guard: bool) -> None:
        self._arguments = arguments
        self._lender = lender
        self._guard = guard
        self._lent: list[Any] = []

    def __enter__(self) -> list[int]:
        try:
            return [
                argument
                if type(argument) is int and 0 <= argument <= MASK64
                else self._value(argument, number)
                for number, argument in enumerate(self._arguments, 1)
            ]
        except BaseException:
            self._take_back(failed=True)
            raise

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._lent:
            self._take_back(failed=kind is not None)

    def _value(self, argument: Any, number: int) -> int:
        if argument is None:
            return 0
        if isinstance(argument, Symbol):
            return argument.address
        if isinstance(argument, str):
            try:
                argument = argument.encode() + b"\0"
            except UnicodeEncodeError as error:
                raise UsageError(f"argument {argument!r} is no text: give bytes") from error
        if isinstance(argument, (bytes, bytearray)):
            address = self._lender.lend(number, argument, guard=self._guard)
            self._lent.append(argument)
            return address
        value = as_int(argument, "argument")
        if not -(1 << 63) <= value <= MASK64:
            raise UsageError(f"argument {value:#x} does not fit 64 bits")
        return value & MASK64

    def _take_back(self, *, failed: bool) -> None:
        taken = [self._lender.take_back() for _ in self._lent]
        for argument, data in zip(self._lent, reversed(taken), strict=True):
            if not failed and isinstance(argument, bytearray):
                argument[:] = data


def memory_size(memory: int | str) -> int:
    """Bytes from bytes or "256M"; raises :class:`UsageError`."""
    if isinstance(memory, int) and not isinstance(memory, bool):
        return memory
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = str(memory)[:-1], str(memory)[-1:].upper()
    if unit not in units or not number.isdecimal() or len(number) > 18:
        raise UsageError(f"memory {memory!r}: write bytes, or a number with K, M or G")
    return int(number) * units[unit]
