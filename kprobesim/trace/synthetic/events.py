"""``SyntheticEvents``: what ``synthetic_events`` lists, and how writing changes it.

kernel/trace/trace_events_synth.c: ``create_or_delete_synth_event()``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator

from kprobesim.dynevent.grammar.c_text import is_good_name
from kprobesim.trace.command_lines import command_lines
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

    def __iter__(self) -> Iterator[SyntheticEvent]:
        return iter([*self._events.values()])

    def read(self) -> str:
        """The text of the file."""
        return "".join(event.listing for event in self)

    def write(self, text: str) -> None:
        """Create or delete what each line of ``text`` says.

        Raises:
            ProbeEventError: A line is too long.
            SyntheticError: A line is refused; those before it are done.
        """
        for line in command_lines(text):
            command = line.lstrip(_SPACE)
            if command:
                self._logging(self._command, command)

    def truncate(self) -> None:
        """Delete all events, or none if one is in use.

        Raises:
            SyntheticError: One is, with EBUSY.
        """
        for event in self:
            if _is_busy(event):
                raise SyntheticError(errno.EBUSY, event.name)
        for event in self:
            self._delete(event, event.name)

    def define(self, line: str) -> None:
        """Create what a line says that was written to ``dynamic_events``: ``s:NAME FIELD...``.

        Raises:
            SyntheticError: It is refused.
        """
        self._logging(self._define, line.lstrip(_SPACE))

    def release(self, name: str, command: str) -> bool:
        """Delete the event of that name; whether there was one.

        Raises:
            SyntheticError: It is in use (EBUSY).
        """
        event = self._events.get(name)
        if event is not None:
            self._delete(event, command)
        return event is not None

    def _logging(self, do: Callable[[str], None], command: str) -> None:
        try:
            do(command)
        except SyntheticError as error:
            if error.entry:
                self._log.write(error.entry)
            raise

    def _define(self, command: str) -> None:
        prefix, name = "s:", command[2:]
        if not re.search("[ \t]", command):
            raise SyntheticError(errno.EINVAL, command, "INVALID_CMD")
        if "/" in name:
            if not name.startswith(f"{GROUP}/"):
                raise SyntheticError(errno.EINVAL, command, "INVALID_DYN_CMD")
            prefix = f"s:{GROUP}/"
        self._create(command.removeprefix(prefix), command)

    def _command(self, command: str) -> None:
        if not command.startswith("!"):
            self._create(command, command)
            return
        name = re.split("[ \t]", command, maxsplit=1)[0][1:]
        if not self.release(name, command):
            raise SyntheticError(errno.ENOENT, command)

    def _create(self, definition: str, command: str) -> None:
        """Create what ``definition`` says, of which the whole ``command`` consists or ends."""
        if len(definition.partition(";")[0].split()) < _FEWEST_WORDS:
            raise SyntheticError(errno.EINVAL, command, "INVALID_CMD")
        name, *rest = re.split("[ \t]", definition, maxsplit=1)
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

    def _delete(self, event: SyntheticEvent, command: str) -> None:
        if _is_busy(event):
            raise SyntheticError(errno.EBUSY, command)
        self._tracing.drop_event(event)
        del self._events[event.name]


def _is_busy(event: SyntheticEvent) -> bool:
    return event.users > 0 or event.armed
