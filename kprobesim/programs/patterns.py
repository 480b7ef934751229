"""``Pattern``: what a filter's ``~`` looks for in a text, as a small automaton.

The kernel has five kinds of patterns (kernel/trace/trace_events_filter.c) and one glob matcher
(lib/glob.c). Here they are one: a row of sets of bytes, with stars between them. A state is how
many of the sets have been used up; all states that are possible at a time are bits of one number,
so that a byte costs a look-up, a shift and an or, whatever the pattern is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["STAR", "Pattern", "glob", "literal"]

STAR = 0
"""The atom for any bytes, also none."""
_ANY = (1 << 256) - 1


@dataclass(frozen=True)
class Pattern:
    """A pattern for whole texts.

    Attributes:
        atoms: Each :data:`STAR`, or a set of bytes: a number that has bit N for byte N.
    """

    atoms: tuple[int, ...]

    @cached_property
    def sets(self) -> tuple[int, ...]:
        """The atoms that take one byte each."""
        return tuple(atom for atom in self.atoms if atom)

    @cached_property
    def stars(self) -> int:
        """The states in which any byte may be skipped, as bits."""
        states = at = 0
        for atom in self.atoms:
            if atom:
                at += 1
            else:
                states |= 1 << at
        return states

    @cached_property
    def table(self) -> tuple[int, ...]:
        """For each byte the states whose next set has it, as bits."""
        return tuple(
            sum(1 << state for state, found in enumerate(self.sets) if found >> byte & 1)
            for byte in range(256)
        )

    def matches(self, text: bytes) -> bool:
        """Whether all of ``text`` is like that."""
        states = 1
        for byte in text:
            states = (states & self.table[byte]) << 1 | states & self.stars
            if not states:
                return False
        return bool(states >> len(self.sets) & 1)


def literal(text: bytes, *, before: bool = False, behind: bool = False) -> Pattern:
    """The pattern of ``text`` itself, with anything ``before`` or ``behind`` it."""
    atoms = tuple(1 << byte for byte in text)
    return Pattern((STAR,) * before + atoms + (STAR,) * behind)


def glob(pattern: bytes) -> Pattern:
    r"""The pattern that ``glob_match()`` has for a glob (lib/glob.c).

    ``*`` ``?`` ``[a-z]`` ``[!a-z]``; ``\\`` takes the next character's meaning away, and is nothing
    at the end. A bracket that is never closed stands for itself, as does the first one in it.
    """
    atoms, at = [], 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        if byte == ord("*"):
            atoms.append(STAR)
        elif byte == ord("?"):
            atoms.append(_ANY)
        elif byte == ord("[") and (found := _bracket(pattern, at)) is not None:
            bytes_, at = found
            atoms.append(bytes_)
        elif byte == ord("\\"):
            atoms.extend(1 << byte for byte in pattern[at : at + 1])
            at += 1
        else:
            atoms.append(1 << byte)
    return Pattern(tuple(atoms))


def _bracket(pattern: bytes, at: int) -> tuple[int, int] | None:
    """The set of a bracket that has been opened, and where it ends; ``None``: it never does."""
    inverted = pattern[at : at + 1] == b"!"
    at += inverted
    found, first = 0, True
    while first or pattern[at : at + 1] != b"]":
        if at >= len(pattern):
            return None
        low = high = pattern[at]
        at += 1
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"", b"]"):
            high = pattern[at + 1]
            at += 2
        for byte in range(low, high + 1):
            found |= 1 << byte
        first = False
    return (found ^ _ANY if inverted else found), at + 1
