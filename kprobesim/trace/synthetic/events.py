"""``SyntheticEvents``: what ``synthetic_events`` lists, and how writing changes it.

kernel/trace/trace_events_synth.c: ``create_or_delete_synth_event()``.
"""

from __future__ import annotations

import errno
import re

from kprobesim.dynevent.grammar.c_text import is_good_name
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.synthetic.error import SyntheticError
from kprobesim.trace.synthetic.event import GROUP, SyntheticEvent
from kprobesim.trace.synthetic.field import parse_fields
from kprobesim.trace.synthetic.planter import SyntheticPlanter
from kprobesim.trace.tracing import Tracing

__all__ = ["SyntheticEvents"]

_FEWEST_WORDS = 3
_SPACE = " \t\n\v\f\r"


class SyntheticEvents:
    """The synthetic events of one kernel.

    Args:
        tracing: Its tracing.
        log: What was refused.
    """

    def __init__(self, tracing: Tracing, log: ErrorLog) -> None:
        self._tracing = tracing
        self._log = log
        self._events: dict[str, SyntheticEvent] = {}

    def get(self, name: str) -> SyntheticEvent | None:
        """The event of that name, if there is one."""
        return self._events.get(name)

    def read(self) -> str:
        """The text of the file."""
        return "".join(event.listing for event in self._events.values())

    def write(self, text: str) -> None:
        """Create or delete what each line of ``text`` says.

        Raises:
            SyntheticError: A line is refused; those before it are done.
        """
        for line in text.split("\n"):
            command = line.partition("#")[0].lstrip(_SPACE)
            if not command:
                continue
            try:
                self._command(command)
            except SyntheticError as error:
                if error.entry:
                    self._log.write(error.entry)
                raise

    def truncate(self) -> None:
        """Delete all events, or none if one is in use.

        Raises:
            SyntheticError: One is, with EBUSY.
        """
        for event in self._events.values():
            if _is_busy(event):
                raise SyntheticError(errno.EBUSY, event.name)
        for name in list(self._events):
            self._delete(name, name)

    def _command(self, command: str) -> None:
        head = command.partition(";")[0]
        if not head.startswith("!") and len(head.split()) < _FEWEST_WORDS:
            raise SyntheticError(errno.EINVAL, command, "INVALID_CMD")
        name, *rest = re.split("[ \t]", command, maxsplit=1)
        if name.startswith("!"):
            self._delete(name[1:], command)
            return
        if not is_good_name(name):
            raise SyntheticError(errno.EINVAL, command, "BAD_NAME", name)
        if name in self._events or self._tracing.events.get(f"{GROUP}/{name}") is not None:
            raise SyntheticError(errno.EEXIST, command, "EVENT_EXISTS", name)
        fields = parse_fields(rest[0], command)
        planter = SyntheticPlanter(self._tracing)
        event = SyntheticEvent(self._tracing.take_id(), name, fields, planter)
        planter.replant(event)
        self._tracing.add_event(event)
        self._events[name] = event

    def _delete(self, name: str, command: str) -> None:
        event = self._events.get(name)
        if event is None:
            raise SyntheticError(errno.ENOENT, command)
        if _is_busy(event):
            raise SyntheticError(errno.EBUSY, command)
        self._tracing.drop_event(event)
        del self._events[name]


def _is_busy(event: SyntheticEvent) -> bool:
    return event.users > 0 or event.armed
