"""Which arguments a function looks at, by what its code reads before it writes it.

A path through the code ends where every argument register has been written or, since a call
overwrites them all, at a call. What the called function takes for arguments it may have got from
here: its declaration says which registers these are; without one, all.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.x86_64.insn import Undecodable
from kprobesim.functions.clones import split_clone
from kprobesim.functions.code import Code
from kprobesim.functions.effects import ALL, Leads

__all__ = ["arguments_read", "sets_argument"]

#: A function that is longer on the way to its answer is not followed.
_MOST_STEPS = 2000
#: How many instructions in front of a call are looked at for one that sets an argument.
_IN_FRONT = 24


def arguments_read(
    code: Code, start: int, wanted: int, taken_by: Callable[[int], int]
) -> int | None:
    """Those of the registers ``wanted`` that the function at ``start`` reads, as bits.

    Args:
        code: The code that it is in.
        start: Where it begins.
        wanted: The registers that are asked for; the search ends when all are found to be read.
        taken_by: The registers of the arguments of the function that begins somewhere.

    Returns:
        ``None`` if it is too long to tell, or no code.
    """
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


def sets_argument(code: Code, site: int, register: int) -> bool:
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
