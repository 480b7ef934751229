"""``ProbeDefinition``: one definition that was understood, and its arguments."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.dynevent.fetch import Fetch
from kprobesim.dynevent.fetch_type import FetchType
from kprobesim.hexrepr import HexRepr

__all__ = ["ProbeArgument", "ProbeDefinition"]


@dataclass(frozen=True)
class ProbeArgument:
    """One argument.

    Attributes:
        name: Its name, ``arg1`` and so on where none was given.
        body: As ``kprobe_events`` lists it behind the name: what is fetched, and its type if that
            was given.
        fetch: What is read.
        type: How it is stored and shown.
    """

    name: str
    body: str
    fetch: Fetch
    type: FetchType

    def __str__(self) -> str:
        return f"{self.name}={self.body}"


@dataclass(frozen=True, repr=False)
class ProbeDefinition(HexRepr):
    """A definition without a fault in its grammar.

    Attributes:
        kind: ``"p"`` or ``"r"``; of those in ``dynamic_events`` alone ``"f"``, ``"t"``, ``"e"``.
        maxactive: Of a return probe, as it was given; 0: the kernel's default.
        group: The event's group.
        event: The event's name.
        module: The module that the place names; ``None``: it names none.
        symbol: The place's symbol; ``None``: the place is an address. Of an event probe it is
            ``GROUP:EVENT``.
        offset: Bytes from the symbol.
        address: The place's address; ``None``: the place is a symbol.
        arguments: What it reads.
        at_exit: It is an fprobe where the function returns.
        words: The words that were written, as errors show them.
    """

    kind: str
    group: str
    event: str
    symbol: str | None
    arguments: tuple[ProbeArgument, ...]
    words: tuple[str, ...]
    maxactive: int = 0
    module: str | None = None
    offset: int = 0
    address: int | None = None
    at_exit: bool = False

    @property
    def name(self) -> str:
        """``GROUP/EVENT``."""
        return f"{self.group}/{self.event}"

    @property
    def returns(self) -> bool:
        """Whether it is hit when the function returns."""
        return self.kind == "r" or self.at_exit

    @property
    def qualified(self) -> str | None:
        """``MODULE:SYMBOL``, or the symbol alone; ``None``: the place is an address."""
        return self.symbol if self.module is None else f"{self.module}:{self.symbol}"
