"""Actions of hist triggers as they are written: ``onmax($lat).save(comm)`` and their kin.

kernel/trace/trace_events_hist.c: ``parse_actions()``, ``action_parse()``.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable
from dataclasses import dataclass

from kprobesim.trace.hist.error import HistError, LogEntry

__all__ = ["Handler", "HistAction", "parse_action"]

_MOST_PARAMETERS = 64  # SYNTH_FIELDS_MAX
_FEWEST_CHARACTERS = 2


class Handler(enum.Enum):
    """When something is done."""

    ONMATCH = "onmatch"
    ONMAX = "onmax"
    ONCHANGE = "onchange"


@dataclass(frozen=True)
class HistAction:
    """One action.

    Attributes:
        handler: When it is done.
        about: What stands in the handler's parentheses: ``GROUP.EVENT``, or ``$VARIABLE``.
        name: The action's own name: ``trace``, ``save``, ``snapshot``, or a synthetic event's.
        parameters: What stands in its parentheses, but for a synthetic event behind ``trace(``.
        synthetic: The synthetic event that is recorded; empty: none is.
    """

    handler: Handler
    about: str
    name: str
    parameters: tuple[str, ...]
    synthetic: str = ""

    @property
    def saves(self) -> bool:
        """Whether it keeps fields."""
        return not self.synthetic and self.name.startswith("save")

    @property
    def snapshots(self) -> bool:
        """Whether it takes a snapshot."""
        return not self.synthetic and self.name.startswith("snapshot")

    @property
    def event(self) -> tuple[str, str]:
        """Group and name of the event that ``onmatch()`` is about."""
        group, _, name = self.about.partition(".")
        return group, name

    def text(self, saved: tuple[str, ...]) -> str:
        """As the file ``trigger`` shows it; ``saved`` are the fields that it keeps."""
        shown = saved if self.saves else () if self.snapshots else self.parameters
        if self.synthetic and self.name.startswith("trace"):
            shown = (self.synthetic, *shown)
        return f":{self.handler.value}({self.about}).{self.name}({','.join(shown)})"


def parse_action(text: str, has_event: Callable[[str, str], bool]) -> HistAction:
    """The action that ``text`` says.

    Args:
        text: It.
        has_event: Whether there is an event of that group and name.

    Raises:
        HistError: The kernel refuses it.
    """
    word, _, rest = text.partition("(")
    handler = Handler(word)
    about, closed, rest = rest.partition(")")
    if handler is Handler.ONMATCH:
        if not closed:
            raise _refusal("NO_CLOSING_PAREN", about)
        group, dot, event = about.partition(".")
        if not dot:
            raise _refusal("SUBSYS_NOT_FOUND", group)
        if not has_event(group, event):
            raise _refusal("INVALID_SUBSYS_EVENT", event)
    elif not closed:
        raise HistError(errno.EINVAL)
    return _parse(handler, about, rest)


def _refusal(identifier: str, part: str = "") -> HistError:
    return HistError(errno.EINVAL, LogEntry(identifier, part))


def _parse(handler: Handler, about: str, rest: str) -> HistAction:
    _, dot, call = rest.partition(".")
    if not dot:
        raise _refusal("ACTION_NOT_FOUND")
    name, opened, inside = call.partition("(")
    if not opened:
        raise _refusal("ACTION_NOT_FOUND")
    parameters, closed, _ = inside.partition(")")
    if name.startswith("snapshot"):
        if not closed:
            raise _refusal("NO_CLOSING_PAREN", parameters)
        found = HistAction(handler, about, name, ())
    elif name.startswith("save"):
        found = HistAction(handler, about, name, _parameters(parameters))
    else:
        words = _parameters(parameters)
        synthetic = name
        if name.startswith("trace"):
            synthetic, words = words[0], words[1:]
        return HistAction(handler, about, name, words, synthetic)
    if handler is Handler.ONMATCH:
        raise _refusal("ACTION_MISMATCH", name)
    return found


def _parameters(text: str) -> tuple[str, ...]:
    found = [part.strip() for part in text.split(",")]
    for number, part in enumerate(found):
        if number >= _MOST_PARAMETERS:
            raise _refusal("TOO_MANY_PARAMS")
        if len(part) < _FEWEST_CHARACTERS:
            raise _refusal("INVALID_PARAM", part)
    return tuple(found)
