"""``Stacks``: the stacks of callers that programs have met, each once, by number.

As BPF's map of that kind: ``stack_id`` is a number that is cheap to keep and to compare, and here
is what it stands for. The memory is shared with compiled code, which fills it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kprobesim.programs.stores.words import Words, new_words
from kprobesim.sizes import MASK64

__all__ = ["DEPTH", "LOST", "MIX", "SLOTS", "Stacks"]

DEPTH = 32
"""The callers that are kept of a stack, the innermost first."""
SLOTS = 1 << 14
"""How many stacks there may be; a power of two."""
MIX = 0x9E37_79B9_7F4A_7C15
"""The hash of a stack: for each address ``h = (h ^ address) * MIX; h ^= h >> 32``."""
_SLOT = DEPTH + 1  # words: how many addresses, and they
LOST = SLOTS * _SLOT
"""The word behind them: how often there was no room for a stack."""


class Stacks(Mapping[int, tuple[int, ...]]):
    """Addresses of callers, the innermost first, by the number that programs know them by.

    >>> by_stack = k.count("kfree", key=stack_id)
    >>> [k.machine.symbolize(address) for address in k.stacks[max(by_stack, key=by_stack.get)]]
    """

    def __init__(self) -> None:
        """None yet."""
        self.words: Words = new_words(LOST + 1)

    @property
    def lost(self) -> int:
        """Hits whose stack has no number, since :data:`SLOTS` others have taken all."""
        return int(self.words[LOST])

    def number(self, addresses: Sequence[int]) -> int | None:
        """The number of a stack, a new one if it is new; ``None``: there is no room."""
        value = 0
        for address in addresses:
            value = (value ^ address) * MIX & MASK64
            value ^= value >> 32
        for step in range(SLOTS):
            number = value + step & SLOTS - 1
            known = self.get(number)
            if known is None:
                self._put(number, addresses)
                return number
            if known == tuple(addresses):
                return number
        self.words[LOST] += 1
        return None

    def _put(self, number: int, addresses: Sequence[int]) -> None:
        at = number * _SLOT
        self.words[at + 1 : at + 1 + len(addresses)] = list(addresses)
        self.words[at] = len(addresses)

    def put_all(self, stacks: Iterable[tuple[int, Sequence[int]]]) -> None:
        """Let stacks have the numbers that they had in another process.

        Raises:
            ValueError: They are no such stacks.
        """
        for number, addresses in stacks:
            if not (0 <= number < SLOTS and 0 < len(addresses) <= DEPTH):
                raise ValueError(f"stack {number} cannot be")
            self._put(number, addresses)

    def __getitem__(self, number: int) -> tuple[int, ...]:
        if not isinstance(number, int) or not 0 <= number < SLOTS:
            raise KeyError(number)
        at = number * _SLOT
        if not self.words[at]:
            raise KeyError(number)
        return tuple(self.words[at + 1 : at + 1 + self.words[at]])

    def __iter__(self) -> Iterator[int]:
        return (number for number in range(SLOTS) if self.words[number * _SLOT])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{len(self)} stacks>"
