"""``Reached``: what a walk through a program has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kprobesim.bpf.program import Function
from kprobesim.types.model import Type

__all__ = ["ContextRead", "Place", "Reached", "World"]

Place = tuple[Function, int]
"""An instruction: its function and its number there."""


@dataclass(frozen=True)
class World:
    """What is known before a program runs.

    ``settings`` are the bytes of each kernel setting that is known, by name. ``missing`` are weak
    functions and symbols that the kernel has not: their address is 0. ``constants`` are the bytes
    of sections of constants, if they are to be believed.
    """

    settings: Mapping[str, bytes] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    constants: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ContextRead:
    """``size`` bytes at ``offset`` of the context are read, at the first of such places."""

    offset: int
    size: int
    place: Place = field(repr=False)


@dataclass
class Reached:
    """What of a program and of the functions that it calls can be reached.

    ``believed`` says for slots of the context of which types the program takes what it found there
    to be: it reads members of them through it.
    """

    instructions: dict[Function, set[int]] = field(default_factory=dict, repr=False)
    helpers: dict[int, Place] = field(default_factory=dict)
    kfuncs: dict[str, Place] = field(default_factory=dict)
    reads: dict[tuple[int, int], ContextRead] = field(default_factory=dict)
    believed: dict[int, dict[str, Type]] = field(default_factory=dict)

    def __contains__(self, place: object) -> bool:
        assert isinstance(place, tuple)
        return place[1] in self.instructions.get(place[0], ())
