"""``_error_injection_whitelist``: which functions may be made to fail, and with what values.

A record of include/asm-generic/error-injection.h is an address and a type of four bytes, padded to
16 bytes. Before 6.3 a type 0 ("none") came first, so that every other number was one higher.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

from kprobesim.sizes import MASK64

__all__ = ["ERROR_INJECTION", "ErrorInjection", "InjectionType"]

ERROR_INJECTION = (
    "__start_error_injection_whitelist",
    "__stop_error_injection_whitelist",
    "_error_injection_whitelist",
)

_RECORD = struct.Struct("<QI4x")
_SYSTEM_CALLS = ("__x64_sys_", "__arm64_sys_", "__ia32_sys_", "sys_", "SyS_")  # all return an errno
_WITHOUT_NONE = (6, 3)
_MOST_ERRNO = 4095


class InjectionType(enum.Enum):
    """``EI_ETYPE_*``: what the function returns if it fails."""

    NULL = "a NULL pointer"
    ERRNO = "a negative errno"
    ERRNO_NULL = "a negative errno as a pointer, or NULL"
    TRUE = "true"

    def default(self) -> int:
        """What is injected if nothing else is said (``adjust_error_retval()``, given 0)."""
        return {"ERRNO": -22, "TRUE": 1}.get(self.name, 0)

    def accepts(self, value: int) -> bool:
        """Whether the function may be made to return ``value``."""
        is_errno = value & MASK64 >= -_MOST_ERRNO & MASK64
        if self is InjectionType.TRUE:
            return value == 1
        if self is InjectionType.ERRNO:
            return is_errno
        return value == 0 or (self is InjectionType.ERRNO_NULL and is_errno)


_IN_ORDER = tuple(InjectionType)


class ErrorInjection:
    """The functions of the whitelist. ``name_at(address)`` names the function at an address."""

    def __init__(
        self, table: bytes, version: Sequence[int], name_at: Callable[[int], str | None]
    ) -> None:
        size = len(table) - len(table) % _RECORD.size
        records = [r for r in _RECORD.iter_unpack(table[:size]) if r[0]]
        first = _number_of_null(records, tuple(version), name_at)
        self._types = {
            address: _IN_ORDER[number - first]
            for address, number in records
            if 0 <= number - first < len(_IN_ORDER)
        }

    @classmethod
    def of(cls, types: Mapping[int, InjectionType]) -> ErrorInjection:
        """A list that was read before."""
        found = cls.__new__(cls)
        found._types = dict(types)
        return found

    def __len__(self) -> int:
        return len(self._types)

    def __iter__(self) -> Iterator[tuple[int, InjectionType]]:
        return iter(self._types.items())

    def type_of(self, function: int) -> InjectionType | None:
        """How the function that starts at ``function`` may fail; ``None``: it may not."""
        return self._types.get(function)


def _number_of_null(
    records: Sequence[tuple[int, int]],
    version: tuple[int, ...],
    name_at: Callable[[int], str | None],
) -> int:
    """The number of ``EI_ETYPE_NULL``, by what the table itself says."""
    numbers = {number for _, number in records}
    if 0 in numbers or 4 in numbers:
        return 0 if 0 in numbers else 1
    for address, number in records:
        if (name_at(address) or "").startswith(_SYSTEM_CALLS):
            return number - 1
    return 0 if version >= _WITHOUT_NONE else 1
