"""``Planted``: a program on its places, and what it has kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.machine.turn import Turn
from kprobesim.programs.probe import ProgramProbe
from kprobesim.programs.program import Program
from kprobesim.programs.stores.stacks import Stacks

__all__ = ["Planted"]

_P = TypeVar("_P", bound="Planted")


class Planted:
    """One program and its probes; in ``with``, they are gone at the end.

    Attributes:
        program: What is done.
        names: The functions.
        probes: A probe for each of them.
        stores: What each action of the program keeps, in their order.
        asked: What was asked for: to compile it, not to, or (``None``) if it can be.
        places: Where the probes are: the arguments of each ``Kprobe``.
        why_not: Why the program is not compiled; "" if it is.
        stacks: What its ``stack_id`` stand for.
    """

    stacks: Stacks
    places: tuple[Mapping[str, Any], ...]

    def __init__(
        self,
        program: Program,
        names: Sequence[str],
        probes: Sequence[ProgramProbe],
        stores: Sequence[Any],
        asked: bool | None,
        why_not: str,
        turn: Turn,
        kprobes: KprobesManager,
    ) -> None:
        self.program = program
        self.names = tuple(names)
        self.probes = tuple(probes)
        self.stores = tuple(stores)
        self.asked = asked
        self.why_not = why_not
        self._turn = turn
        self._kprobes = kprobes
        for store in self.stores:
            store.planted = self
        for p in self.probes:
            p.planted = self

    @property
    def compiled(self) -> bool:
        """Whether no Python is on the way of a hit."""
        return not self.why_not

    @property
    def nmissed(self) -> int:
        """Hits for which the program did not run because a probe was being handled."""
        return sum(p.nmissed for p in self.probes)

    @property
    def hits(self) -> int:
        """Hits that met the program's condition."""
        return sum(p.hits for p in self.probes)

    @property
    def faults(self) -> int:
        """Hits with a value that was needed and could not be fetched."""
        return sum(p.faults for p in self.probes)

    def _registered(self) -> list[Kprobe]:
        return [p for p in self.probes if p in self._kprobes]

    @property
    def return_probes(self) -> list[Kretprobe]:
        """Those of Python's, by which a program follows returns that is not compiled."""
        found = [getattr(p, "rp", None) for p in self._registered() or self.probes]
        return [rp for rp in found if rp is not None]

    def remove(self) -> None:
        """Unregister the probes; also in a handler, and once more does nothing."""
        with self._turn:
            registered = self._registered()
            if registered and self.return_probes:
                self._kprobes.return_probes.unregister_all(self.return_probes)
            else:
                self._kprobes.unregister_kprobes(registered)

    def disable(self) -> None:
        """``disable_kprobe()`` for all of them."""
        with self._turn:
            for p in self._registered():
                self._kprobes.disable_kprobe(p)

    def enable(self) -> None:
        """``enable_kprobe()`` for all of them."""
        with self._turn:
            for p in self._registered():
                self._kprobes.enable_kprobe(p)

    def __enter__(self: _P) -> _P:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        places = ", ".join(self.names[:3]) + (" ..." if len(self.names) > 3 else "")
        how = "compiled" if self.compiled else "not compiled"
        return f"<{self.program!r} on {places}, {how}>"
