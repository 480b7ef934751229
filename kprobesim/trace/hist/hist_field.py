"""``HistField``: a key, a value or a variable of a histogram (``struct hist_field``)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kprobesim.trace.filters.field import Field

__all__ = ["HistField", "HistFlag"]


class HistFlag(enum.Flag):
    """What a field is, and how it is shown (``HIST_FIELD_FL_*``)."""

    HITCOUNT = enum.auto()
    KEY = enum.auto()
    STRING = enum.auto()
    HEX = enum.auto()
    SYM = enum.auto()
    SYM_OFFSET = enum.auto()
    EXECNAME = enum.auto()
    SYSCALL = enum.auto()
    STACKTRACE = enum.auto()
    LOG2 = enum.auto()
    TIMESTAMP = enum.auto()
    TIMESTAMP_USECS = enum.auto()
    VAR = enum.auto()
    EXPR = enum.auto()
    CPU = enum.auto()
    BUCKET = enum.auto()
    CONST = enum.auto()
    PERCENT = enum.auto()
    GRAPH = enum.auto()
    COMM = enum.auto()
    VAR_REF = enum.auto()


_WORDS = {
    HistFlag.HEX: "hex",
    HistFlag.SYM: "sym",
    HistFlag.SYM_OFFSET: "sym-offset",
    HistFlag.EXECNAME: "execname",
    HistFlag.SYSCALL: "syscall",
    HistFlag.LOG2: "log2",
    HistFlag.BUCKET: "buckets",
    HistFlag.TIMESTAMP_USECS: "usecs",
    HistFlag.PERCENT: "percent",
    HistFlag.GRAPH: "graph",
    HistFlag.STACKTRACE: "stacktrace",
}
"""How they are written, in the order in which they are looked for."""


@dataclass(frozen=True)
class HistField:
    """One field.

    Attributes:
        flags: What it is.
        field: The event's field that it is; ``None``: it is none.
        size: Its bytes in a key.
        signed: Whether it is compared as a signed number.
        label: Its name, where that is not the event field's.
        buckets: How wide its buckets are; 0: it has none.
        number: A constant's value.
        operator: Of an expression ``+ - * /``, or ``neg``.
        operands: Of an expression.
        variable: The name of the variable that it defines.
        reference: The number of the reference that it is, among its histogram's; -1: it is none.
    """

    flags: HistFlag
    field: Field | None = None
    size: int = 8
    signed: bool = False
    label: str = ""
    buckets: int = 0
    number: int = 0
    operator: str = ""
    operands: tuple[HistField, ...] = ()
    variable: str = ""
    reference: int = -1

    @property
    def name(self) -> str:
        """Its name in the file ``hist``."""
        return self.label if self.field is None else self.field.name

    def has(self, flag: HistFlag) -> bool:
        """Whether one of these flags is set."""
        return bool(self.flags & flag)

    @property
    def modifier(self) -> str:
        """The word behind its name, with a dot; or nothing."""
        return next((f".{word}" for flag, word in _WORDS.items() if self.flags & flag), "")

    def expression_text(self, *, widths: bool) -> str:
        """As an operand of an expression is written; ``widths``: with that of its buckets."""
        if self.has(HistFlag.VAR_REF):
            return self.name if "." in self.name else f"${self.name}"
        start = str(self.number) if self.has(HistFlag.CONST) else ""
        width = f"={self.buckets}" if widths and self.buckets else ""
        return f"{start}{self.name}{self.modifier}{width}"
