"""Whether a function was inlined: by debug information, or as far as code and types tell."""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.facts import Certainty, Evidence, FoundBy, InlinedAt, Inlining
from kprobesim.functions.seen import Seen

__all__ = ["Judged", "by_dwarf"]


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


def by_code(seen: Seen) -> Judged:
    """What symbols tell without debug information."""
    if seen.bodies:
        return Judged(Inlining.UNKNOWN, (), "symbols", "exact")
    if seen.clones:
        text = f"there is only {seen.clones[0].symbol.name}: the rest of it is in its callers"
        evidence = (Evidence(text, "symbols", "exact"),)
        return Judged(Inlining.WHOLE, (), "symbols", "exact", evidence)
    return Judged(Inlining.GONE, (), "symbols", "guess")
