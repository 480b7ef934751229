"""Whether a function was inlined: by debug information, or as far as code and types tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.facts import Certainty, Evidence, FoundBy, InlinedAt, Inlining
from kprobesim.functions.own_names import OwnNames
from kprobesim.functions.seen import Seen

__all__ = ["Judged", "by_code", "by_dwarf", "without_a_trace"]


class Judged(NamedTuple):
    """An answer: where it comes from, how sure it is, and why."""

    inlining: Inlining
    copies: tuple[InlinedAt, ...]
    found_by: FoundBy
    certainty: Certainty
    evidence: tuple[Evidence, ...] = ()


def by_dwarf(seen: Seen, dwarf: Inlines) -> Judged | None:
    """What the kernel's debug information says; ``None`` of what is only in modules."""
    in_kernel = [symbol for symbol in seen.bodies if not symbol.module]
    copies = dwarf.copies(seen.base)
    if copies:
        inlining = Inlining.PART if in_kernel else Inlining.WHOLE
    elif in_kernel:
        inlining = Inlining.NOT
    elif seen.bodies:
        return None
    else:
        inlining = Inlining.WHOLE if seen.clones else Inlining.GONE
    return Judged(inlining, copies, "dwarf", "exact")


def by_code(
    seen: Seen, own: OwnNames, rests: Iterable[InlinedAt], *, declared_inline: bool
) -> Judged:
    """What symbols and code tell without debug information.

    Args:
        seen: The function.
        own: What functions call themselves.
        rests: Who branches to a part that was split off it, ``name.part.0``: gcc splits a function
            whose beginning it wants to inline (ipa-split), so who holds such a branch holds a copy.
        declared_inline: Whether it seems to be ``inline`` in the source.
    """
    copies = {copy.caller: copy for copy in rests}
    evidence = []
    if copies:
        text = f"{_some(copies)} branch to a part that was split off it, so hold a copy of the rest"
        evidence.append(Evidence(text, "code", "likely"))
    naming = {
        holder: InlinedAt(holder, address=address)
        for holder, address in own.copies(seen.base)
        if holder not in copies
    }
    if naming:
        text = f"{_some(naming)} take the address of the name that it calls itself by"
        evidence.append(Evidence(text, "code", "likely"))
        copies |= naming
    found = tuple(copies.values())
    if seen.bodies:
        if found:
            return Judged(Inlining.PART, found, "code", "likely", tuple(evidence))
        return _with_a_body(seen, declared_inline)
    if seen.clones:
        text = f"there is only {seen.clones[0].symbol.name}: the rest of it is in its callers"
        evidence.append(Evidence(text, "symbols", "exact"))
        return Judged(Inlining.WHOLE, found, "symbols", "exact", tuple(evidence))
    if found:
        return Judged(Inlining.WHOLE, found, "code", "likely", tuple(evidence))
    if seen.base in own.compiled:
        text = "it has no symbol, and the kernel has the name that it calls itself by"
        return Judged(
            Inlining.WHOLE, (), "symbols", "likely", (Evidence(text, "symbols", "likely"),)
        )
    return without_a_trace(own.is_a_string(seen.base))


def without_a_trace(is_a_string: bool) -> Judged:
    """Of a function that has left neither symbols nor copies that are known.

    ``is_a_string``: whether its name is among the kernel's constants.
    """
    if is_a_string:
        text = "it has no symbol, and its name is among the kernel's constants, as functions log it"
        return Judged(Inlining.WHOLE, (), "code", "guess", (Evidence(text, "code", "guess"),))
    text = "it has no symbol: it is inlined wherever it is called, or not in this kernel"
    return Judged(Inlining.GONE, (), "symbols", "guess", (Evidence(text, "symbols", "guess"),))


def _with_a_body(seen: Seen, declared_inline: bool) -> Judged:
    """Of a function with a symbol and no copy that is known."""
    if declared_inline and len(seen.symbols) > 1:
        text = (
            "it is in several files, and ftrace cannot trace it, but what is beside it: an inline "
            "function of a header, which other files have inlined"
        )
        return Judged(Inlining.PART, (), "code", "guess", (Evidence(text, "code", "guess"),))
    if declared_inline:
        text = (
            "ftrace cannot trace it, unlike what is beside it: it may be declared inline, and be "
            "inlined elsewhere"
        )
    elif not seen.callers and not seen.taken:
        text = "nothing calls it or holds its address: it is not used, or inlined where it is"
    else:
        return Judged(Inlining.UNKNOWN, (), "symbols", "guess")
    return Judged(Inlining.UNKNOWN, (), "code", "guess", (Evidence(text, "code", "guess"),))


def _some(names: Collection[str]) -> str:
    """Up to three of them, and how many more there are."""
    first = ", ".join(list(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"
