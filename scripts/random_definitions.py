"""Definitions of kprobe events that are right, or nearly: for comparing one kernel with another."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from definition_parts import (
    ADDRESSES,
    ARRAYS,
    CASTS,
    DELETIONS,
    EVENTS,
    FUNCTIONS,
    HEADS,
    IMMEDIATES,
    NAMES,
    OFFSETS,
    PLACES,
    REGISTERS,
    STRINGS,
    SUFFIXES,
    SYMBOLS,
    TYPES,
    VARIABLES,
    WRONG_EVENTS,
    WRONG_FETCHES,
    WRONG_NAMES,
    WRONG_REGISTERS,
    WRONG_TYPES,
)

__all__ = ["random_definitions"]

_DEEPEST = 14


def random_definitions(count: int, seed: int, arch: str) -> list[str]:
    """So many commands; one that starts with ``+`` leaves what those before it have defined.

    Args:
        count: How many.
        seed: The same seed gives the same definitions.
        arch: Whose registers they name.
    """
    made = _Maker(random.Random(seed), REGISTERS[arch])
    return [made.command() for _ in range(count)]


class _Maker:
    def __init__(self, rng: random.Random, registers: Sequence[str]) -> None:
        self._rng = rng
        self._registers = registers

    def _one(self, *choices: Sequence[str]) -> str:
        """One of the first, mostly; now and then one of those that follow."""
        at = 0 if len(choices) == 1 or self._often(0.85) else 1
        return self._rng.choice(choices[at])

    def _often(self, share: float) -> bool:
        return self._rng.random() < share

    def command(self) -> str:
        """A definition, seldom something that deletes."""
        if self._often(0.02):
            return self._rng.choice(DELETIONS)
        words = [self._head(), self._place(), *self._arguments()]
        text = self._rng.choice((" ", " ", "  ", "\t")).join(words)
        if self._often(0.01):
            text = f" {text} # and a comment"
        return f"+{text}" if self._often(0.25) else text

    def _head(self) -> str:
        kind = self._rng.choice("ppprr") if self._often(0.97) else self._rng.choice("xPe")
        active = self._rng.choice(HEADS) if self._often(0.12) else ""
        event = f":{self._one(EVENTS, WRONG_EVENTS)}" if self._often(0.45) else ""
        return f"{kind}{active}{event}"

    def _place(self) -> str:
        chance = self._rng.random()
        function = self._rng.choice(FUNCTIONS)
        if chance < 0.7:
            return function
        if chance < 0.8:
            return f"{function}+{self._rng.choice(('0', '4', '8', '1', '16', '0x10'))}"
        return f"{function}%return" if chance < 0.85 else self._rng.choice(PLACES)

    def _arguments(self) -> Iterator[str]:
        for _ in range(self._rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 4, 6))):
            yield self._argument()
        if self._often(0.01):
            yield "$arg*"
        if self._often(0.005):
            yield from (f"a{n}=%{self._registers[0]}" for n in range(self._rng.choice((128, 129))))
        if self._often(0.005):
            yield from (f"b{n}=+0(%{self._registers[0]}):u64[64]" for n in range(8))

    def _argument(self) -> str:
        text = self._deep() if self._often(0.06) else self._fetch(0)
        if self._often(0.5):
            text += f":{self._type()}"
        return f"{self._one(NAMES, WRONG_NAMES)}={text}" if self._often(0.45) else text

    def _deep(self) -> str:
        text = self._rng.choice((f"%{self._registers[0]}", "@0", "@jiffies", "$stack0", "file"))
        for _ in range(self._rng.randint(6, 16)):
            text = f"+0({text})"
        return text

    def _type(self) -> str:
        name = self._one(TYPES, WRONG_TYPES)
        return f"{name}{self._one(ARRAYS[:3], ARRAYS)}" if self._often(0.25) else name

    def _fetch(self, depth: int) -> str:
        chance = self._rng.random()
        if chance < 0.25:
            return f"%{self._one(self._registers, WRONG_REGISTERS)}"
        if chance < 0.50:
            return self._rng.choice(VARIABLES)
        if chance < 0.57:
            place = self._rng.choice(SYMBOLS) + self._rng.choice(SUFFIXES)
            return f"@{place if self._often(0.7) else self._rng.choice(ADDRESSES)}"
        if chance < 0.82 and depth < _DEEPEST:
            return self._dereference(depth)
        if chance < 0.88:
            return f"\\{self._rng.choice(IMMEDIATES)}"
        if chance < 0.93:
            return self._rng.choice(STRINGS)
        return self._rng.choice(CASTS if chance < 0.97 else WRONG_FETCHES)

    def _dereference(self, depth: int) -> str:
        start = self._rng.choice("++++-") + self._rng.choice(("", "", "", "u"))
        opened = "(" if self._often(0.97) else self._rng.choice(("", "((", "["))
        closed = ")" if self._often(0.96) else self._rng.choice(("", "))", ")x"))
        return f"{start}{self._one(OFFSETS[:5], OFFSETS)}{opened}{self._fetch(depth + 1)}{closed}"
