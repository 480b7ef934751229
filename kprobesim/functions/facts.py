"""``FunctionFacts``: what is known of the functions that bear one name, how, and how surely."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from kprobesim.hexrepr import HexRepr
from kprobesim.image import Symbol

__all__ = [
    "Certainty",
    "Clone",
    "Evidence",
    "FoundBy",
    "FunctionFacts",
    "InlinedAt",
    "Inlining",
]

#: Where an answer comes from: debug information, the kernel's types, its code, its symbols.
FoundBy = Literal["dwarf", "btf", "code", "symbols"]
#: How sure it is. ``exact``: it says so itself. ``likely``: nothing else explains what is there.
Certainty = Literal["exact", "likely", "guess"]


class Inlining(enum.Enum):
    """Whether calls of a function run a copy of its body in the caller, which no probe sees."""

    NOT = "not inlined"
    PART = "inlined in part"
    WHOLE = "wholly inlined"
    #: There is neither a symbol nor an inlined copy.
    GONE = "not there"
    #: There is a symbol, and nothing tells whether there are inlined copies as well.
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Clone:
    """A function that the compiler derived from another and named after it.

    Attributes:
        symbol: What kallsyms shows, as ``do_x.isra.0``.
        kind: The suffix that says what was done: "isra", "constprop", "part", "cold", "llvm",
            "lto_priv", "localalias", "plt"; the first if there are several.
    """

    symbol: Symbol
    kind: str


@dataclass(frozen=True, slots=True, repr=False)
class InlinedAt(HexRepr):
    """A copy of a function in another.

    Attributes:
        caller: The function whose code holds the copy, by its symbol.
        file: The source file of the call, "" where not known.
        line: Its line, 0 where not known.
        address: Where the copy begins; ``None`` where not known.
    """

    caller: str
    file: str = ""
    line: int = 0
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was found out, in words: ``text``, from where and how surely."""

    text: str
    found_by: FoundBy
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """What became of a function of the source.

    Attributes:
        name: As in the source, without a suffix.
        symbols: All symbols of exactly that name, modules' too: several are twins.
        clones: What the compiler derived from it.
        inlining: Whether calls of it run a copy that no probe sees.
        inlined_into: Where, as far as known.
        callers: The symbols whose code calls it (or its clones), or jumps to it.
        tail_called_only: Whether nothing calls it and something jumps to it, so that no return
            address of a call in its caller is ever on the stack.
        address_taken: Whether data or code holds its address, so that it can be called from
            anywhere.
        traceable: Whether ftrace can trace it; ``None`` without a symbol.
        prototype: Its declaration in C by the kernel's types; ``None`` if they have none.
        changed_signature: Whether its arguments are not those of the source any more.
        lost_arguments: Parameters of the prototype, from 0, that are not where they should be at
            its entry, because the compiler saw that nobody needs them.
        found_by: Where ``inlining`` comes from.
        certainty: How sure ``inlining`` is.
        evidence: All that was found out beyond the symbols, in words.
        argument_registers: Which argument registers its code reads, by their names in pt_regs: told
            where the signature changed, else ``None``.
    """

    name: str
    symbols: tuple[Symbol, ...] = ()
    clones: tuple[Clone, ...] = ()
    inlining: Inlining = Inlining.UNKNOWN
    inlined_into: tuple[InlinedAt, ...] = ()
    callers: tuple[str, ...] = ()
    tail_called_only: bool = False
    address_taken: bool = False
    traceable: bool | None = None
    prototype: str | None = None
    changed_signature: bool = False
    lost_arguments: tuple[int, ...] = ()
    found_by: FoundBy = "symbols"
    certainty: Certainty = "guess"
    evidence: tuple[Evidence, ...] = ()
    argument_registers: tuple[str, ...] | None = None

    @property
    def twins(self) -> int:
        """How many functions have this very name."""
        return len(self.symbols)

    @property
    def misses_calls(self) -> bool:
        """Whether a probe on the symbol of this name would miss calls, as far as is known.

        It would if there are inlined copies, twins, or clones that run in its stead.
        """
        return bool(self.symbols) and (
            self.inlining is Inlining.PART
            or len(self.symbols) > 1
            or any(clone.kind in _IN_STEAD for clone in self.clones)
        )


#: Clones that calls go to instead of to the function itself; the other kinds run as part of it.
_IN_STEAD = frozenset(("isra", "constprop"))
