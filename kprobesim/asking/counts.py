"""What is counted in a guest, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kprobesim.hexrepr import HexRepr

__all__ = ["CountedPlace", "Counts", "Tally"]


@dataclass(frozen=True, repr=False)
class CountedPlace(HexRepr):
    """A place whose executions are counted.

    Attributes:
        text: What it is called in the outcome.
        symbol: The symbol, or ``"module:symbol"``; or ``None``, and
        address: the address.
        offset: Bytes from there.
        returns: Count returns of the function instead, with a return probe of the kernel's size;
            of a module's function the entries.
        tracepoint: ``symbol`` is a tracepoint, and it is counted how often code passes it; with a
            module, wherever it is passed, that one is loaded.
        copies: The addresses at which copies of it begin that were inlined into others.
    """

    text: str
    symbol: str | None = None
    address: int | None = None
    offset: int = 0
    returns: bool = False
    tracepoint: bool = False
    copies: tuple[int, ...] = ()

    @property
    def module(self) -> str:
        """The module that it is in; "" if it is in none."""
        module, colon, _ = (self.symbol or "").partition(":")
        return module.replace("-", "_") if colon else ""

    @property
    def name(self) -> str:
        """Its symbol without the module."""
        return (self.symbol or "").rpartition(":")[2]


@dataclass(frozen=True)
class Tally:
    """What was counted at one place in some time.

    Attributes:
        hits: How often its handler was called.
        nmissed: How often it could not be: the kernel's own count.
        lost: How often an inlined copy ran, which no probe at the symbol sees; ``None`` if no
            copies are known.
    """

    hits: int = 0
    nmissed: int = 0
    lost: int | None = None

    def since(self, before: Tally) -> Tally:
        """What has come to what was ``before``."""
        lost = None if self.lost is None else self.lost - (before.lost or 0)
        return Tally(self.hits - before.hits, self.nmissed - before.nmissed, lost)


@dataclass
class Counts:
    """What was counted at one place.

    Attributes:
        place: Where.
        boot: From the kernel's first instruction until its shell waits for the first line.
        lines: During the lines.
        problem: Why nothing was counted; empty if something could be.
    """

    place: CountedPlace
    boot: Tally = field(default_factory=Tally)
    lines: Tally = field(default_factory=Tally)
    problem: str = ""
