"""Why a board's run came to its end."""

from __future__ import annotations

import enum
from typing import Any

from kprobesim.boot.state import Kind, wrong_state
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass, field

__all__ = ["Ending", "Stop", "StopReason"]


class Stop(str, enum.Enum):
    """Why a board's run came to its end."""

    TEXT = "the text appeared on the console"
    CONDITION = "the condition holds"
    SECONDS = "the virtual time is over"
    TIMEOUT = "the time limit is over"
    REQUESTED = "somebody asked for it"
    POWER_OFF = "the guest switched itself off"
    RESTART = "the guest asked for a restart"
    HALT = "the guest halted for ever"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, repr=False)
class StopReason(HexRepr):
    """``kind`` and, where there is more to say, ``detail``.

    The guest can go on after the first five kinds. A reason is false if what was waited for has not
    come: ``assert k.run(until="Run /init", seconds=5)``.

    Attributes:
        kind: Why it ended.
        detail: The text that appeared, the time limit ...
        missed: Whether the run was to end in another way.
    """

    kind: Stop
    detail: str = ""
    missed: bool = field(default=False, compare=False)

    def __bool__(self) -> bool:
        return not self.missed

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value


class Ending(Kind):
    """A :class:`StopReason`, in a board's state."""

    def plain(self, value: StopReason) -> list[str]:
        """The kind's name and the detail."""
        return [value.kind.name, value.detail]

    def parse(self, plain: Any, where: str) -> StopReason:
        """What :meth:`plain` gave; raises :class:`UsageError`."""
        if type(plain) is not list or [type(text) for text in plain] != [str, str]:
            raise wrong_state(f"{where} is no list of two texts")
        if plain[0] not in Stop.__members__:
            raise wrong_state(f"{where} has an unknown reason")
        return StopReason(Stop[plain[0]], plain[1])
