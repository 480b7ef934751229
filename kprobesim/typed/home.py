"""``Home``: where typed values come from, and what they ask: memory, types, names of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kprobesim.late_dataclasses import dataclass
from kprobesim.types.btf import Btf
from kprobesim.types.model import Type
from kprobesim.types.spelling import find_type

__all__ = ["Home"]


@dataclass(frozen=True)
class Home:
    """A guest, for the values in it.

    Attributes:
        read: ``read(address, size)``; raises :class:`GuestMemoryError`.
        read_cstr: ``read_cstr(address, limit)``: what is before the NUL.
        types: The kernel's types and its modules', the kernel's first.
        name_at: The name of the function or variable that begins at an address.
        to_drgn: Makes a ``drgn.Object`` of a typed value.
    """

    read: Callable[[int, int], bytes]
    read_cstr: Callable[[int, int], bytes]
    types: Callable[[], Sequence[Btf]]
    name_at: Callable[[int], str | None]
    to_drgn: Callable[[Any], Any]

    def find(self, text: str) -> Type:
        """The type that C's ``text`` means, such as ``struct file *``.

        Raises:
            TypesError: There is none of that name.
            UsageError: It is no type of C.
        """
        return find_type(text, self.types())
