"""Which arguments a function looks at, by what its code reads before it writes it.

A path through the code ends where every argument register has been written or, since a call
overwrites them all, at a call. What the called function takes for arguments it may have got from
here: its declaration says which registers these are; without one, all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from kprobesim.arch.x86_64.insn import Undecodable
from kprobesim.functions.clones import split_clone
from kprobesim.functions.code import Code
from kprobesim.functions.declared import Declared
from kprobesim.functions.effects import ALL, Leads
from kprobesim.image.tables.places import relative_addresses

__all__ = ["Arguments"]

#: A function that is longer on the way to its answer is not followed.
_MOST_STEPS = 2000
#: How many instructions in front of a call are looked at for one that sets an argument.
_IN_FRONT = 24
_JUMP_ENTRY = 16  # relative: s32 code, s32 target, s64 key


class Arguments:
    """Asks the ``code`` of a kernel about the arguments that ``declared`` gives its functions."""

    def __init__(self, code: Code, declared: Declared) -> None:
        self._code = code
        self._declared = declared

    @cached_property
    def _labels(self) -> Mapping[int, int]:
        """Where each jump label leads when it is switched on (struct jump_entry)."""
        start, table = self._code.part.jump_table
        sites = relative_addresses(start, table, _JUMP_ENTRY)
        targets = relative_addresses(start + 4, table[4:] + bytes(4), _JUMP_ENTRY)
        return dict(zip(sites, targets, strict=True))

    def _taken_by(self, entry: int) -> int:
        """The registers of the arguments of the function that begins at ``entry``; or all."""
        name = self._code.names.get(entry)
        places = None if name is None else self._declared.registers(name)
        return ALL if places is None else _bits(places)

    def read(self, entry: int) -> tuple[str, ...] | None:
        """The argument registers that the function at ``entry`` reads, by name.

        ``None``: it is too long to tell.
        """
        names = self._code.part.isa.abi.arguments
        found = _read(self._code, entry, (1 << len(names)) - 1, self._taken_by, self._labels)
        if found is None:
            return None
        return tuple(name for bit, name in enumerate(names) if found >> bit & 1)

    def lost(self, entry: int, name: str) -> tuple[int, ...]:
        """The parameters of ``name`` that its code at ``entry`` does not get.

        It does not look into any register of theirs, and no call of it sets one. Only to be asked
        of what nobody else can call: others pass all that is declared.
        """
        places = self._declared.registers(name)
        if not places:
            return ()
        found = _read(self._code, entry, _bits(places), self._taken_by, self._labels)
        if found is None:
            return ()
        calls = [site for site, is_call in self._code.branches_to(entry) if is_call]
        return tuple(
            number
            for number, registers in enumerate(places)
            if registers
            and not _bits([registers]) & found
            and not any(_sets(self._code, site, _bits([registers])) for site in calls)
        )


def _bits(places: Iterable[tuple[int, ...]]) -> int:
    return sum(1 << register for registers in places for register in registers)


def _read(
    code: Code,
    start: int,
    wanted: int,
    taken_by: Callable[[int], int],
    labels: Mapping[int, int],
) -> int | None:
    """Those of the registers ``wanted`` that the function at ``start`` reads, as bits.

    Args:
        code: The code that it is in.
        start: Where it begins.
        wanted: The registers that are asked for; the search ends when all are found to be read.
        taken_by: The registers of the arguments of the function that begins somewhere.
        labels: Where jump labels lead.

    Returns:
        ``None`` if it is too long to tell, or no code.
    """
    if start not in code.names:
        return None
    base = split_clone(code.names[start])[0]
    end = code.end_of(start)
    text = code.read(start, end - start)
    places = [(start, end, text)]
    reads = 0
    seen: dict[int, int] = {}
    todo = [(start, 0)]
    steps = 0
    while todo and reads & wanted != wanted:
        at, written = todo.pop()
        place = next((p for p in places if p[0] <= at < p[1]), None)
        if place is None:
            entry = code.start_of(at)
            if entry is None or at < entry or split_clone(code.names[entry])[0] != base:
                reads |= taken_by(at) & ~written  # a tail call
                continue
            stop = code.end_of(entry)
            if at >= stop:
                return None
            place = (entry, stop, code.read(entry, stop - entry))
            places.append(place)
        low, high, text = place
        while at < high and reads & wanted != wanted:
            known = seen.get(at)
            if known is not None and known & ~written == 0:
                break  # been here with no more written
            seen[at] = written if known is None else known & written
            steps += 1
            if steps > _MOST_STEPS:
                return None
            try:
                length, read, writes, leads, target = code.effect(text, at - low, at)
            except Undecodable:
                return None
            if at in labels:
                todo.append((labels[at], written))
            reads |= read & ~written
            written |= writes
            if leads is Leads.CALL:
                reads |= taken_by(target) & ~written
                break
            if leads is Leads.AWAY or written & wanted == wanted:
                break
            if leads is Leads.JUMP:
                todo.append((target, written))
                break
            if leads is Leads.BRANCH:
                todo.append((target, written))
            at += length
    return reads & wanted


def _sets(code: Code, site: int, register: int) -> bool:
    """Whether code right in front of the call at ``site`` sets that argument register, a bit.

    What is set before another call or branch does not count.
    """
    start = code.start_of(site)
    if start is None:
        return True
    text = code.read(start, site - start)
    at = start
    since: list[int] = []
    try:
        while at < site:
            length, read, writes, leads, _ = code.effect(text, at - start, at)
            if leads is not Leads.ON or read == ALL:
                since.clear()
            since.append(writes)
            at += length
    except Undecodable:
        return True
    return any(writes & register for writes in since[-_IN_FRONT:])
