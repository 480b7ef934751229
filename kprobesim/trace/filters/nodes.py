"""A filter as a tree: comparisons of fields, and what joins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kprobesim.hexrepr import HexRepr
from kprobesim.programs.patterns import Pattern
from kprobesim.trace.filters.field import Field

__all__ = [
    "And",
    "CpuNumber",
    "CpuSet",
    "InFunction",
    "Like",
    "Never",
    "Node",
    "Not",
    "Number",
    "Or",
]


@dataclass(frozen=True, repr=False)
class Number(HexRepr):
    """A field against a number, as ``operator`` (``== != < <= > >= &``) says.

    Attributes:
        field: The field, whose size and sign both sides take.
        operator: How.
        value: The number, modulo 2**64.
        signed: Whether both are signed.
    """

    field: Field
    operator: str
    value: int
    signed: bool


@dataclass(frozen=True, repr=False)
class CpuNumber(HexRepr):
    """The number of the CPU against a number; ``&`` is never met."""

    operator: str
    value: int


@dataclass(frozen=True)
class CpuSet:
    """A CPU in a list of several: ``&`` asks whether it is among them.

    Attributes:
        field: What holds its number; ``None``: the CPU that runs.
        operator: ``==`` is never met, ``!=`` always.
        cpus: The list.
    """

    field: Field | None
    operator: str
    cpus: frozenset[int]


@dataclass(frozen=True)
class Like:
    """A text, or the task's name, against a pattern."""

    field: Field
    pattern: Pattern


@dataclass(frozen=True, repr=False)
class InFunction(HexRepr):
    """An address within a function: from ``start`` up to ``end``."""

    field: Field
    start: int
    end: int


@dataclass(frozen=True)
class Never:
    """What is understood, and never met: such as a field of three bytes against a number."""


@dataclass(frozen=True)
class Not:
    """The contrary."""

    of: Node


@dataclass(frozen=True)
class And:
    """Both."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Or:
    """At least one."""

    left: Node
    right: Node


Node: TypeAlias = "Number | CpuNumber | CpuSet | Like | InFunction | Never | Not | And | Or"
