"""``TraceProbe``: one definition, planted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.kprobes.kprobe import KprobeFlag
from kprobesim.programs.planted import Planted

if TYPE_CHECKING:
    from kprobesim.trace.event import TraceEvent

__all__ = ["TraceProbe"]


class TraceProbe:
    """A definition and the probe that it has become.

    Attributes:
        definition: What was written.
        event: The event that it belongs to.
        planted: Its probe and program; ``None``: it waits for its module.
        outlets: Where its program records, by the event that it is there.
    """

    def __init__(self, definition: ProbeDefinition, event: TraceEvent) -> None:
        """It is not planted yet."""
        self.definition = definition
        self.event = event
        self.planted: Planted | None = None
        self.outlets: dict[TraceEvent, Any] = {}
        self._hits = self._misses = 0

    @property
    def hits(self) -> int:
        """How often its handler ran, as the first column of ``kprobe_profile`` says."""
        return self._hits + (0 if self.planted is None else self.planted.hits)

    @property
    def misses(self) -> int:
        """Hits for which it did not, as the second one says."""
        return self._misses + (0 if self.planted is None else self.planted.nmissed)

    def remember(self, hits: int, misses: int) -> None:
        """It had so many before it was stored."""
        self._hits += hits
        self._misses += misses

    def replant(self, planted: Planted | None) -> None:
        """Another probe takes over; what was counted stays."""
        self._hits, self._misses = self.hits, self.misses
        self.planted = planted

    @property
    def has_gone(self) -> bool:
        """Whether its module has gone: it can be enabled, which does nothing."""
        found: Sequence[Any] = () if self.planted is None else self.planted.probes
        return any(p.flags & KprobeFlag.GONE for p in found)

    @property
    def address(self) -> int:
        """Where it is; 0: nowhere."""
        found: Sequence[Any] = () if self.planted is None else self.planted.probes
        return found[0].addr or 0 if found else 0

    def __repr__(self) -> str:
        return f"<TraceProbe {' '.join(self.definition.words)}>"
