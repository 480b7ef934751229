"""``OthersFields``: fields of the event that ``onmatch()`` names, as variables for an action.

A trigger of that event cannot be changed, so it gets one more, with the keys and the filter of the
one that is matched, whose only variable is the field (``create_field_var_hist()`` of
kernel/trace/trace_events_hist.c). It goes with the trigger that wanted it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.hist_field import HistField
from kprobesim.trace.hist.reference import FindVariable, Variable
from kprobesim.trace.hist.versions import keeps_keys
from kprobesim.trace.triggers.event_triggers import EventTriggers
from kprobesim.trace.triggers.trigger import Trigger

__all__ = ["OthersFields"]

_MOST = 64  # SYNTH_FIELDS_MAX


class OthersFields:
    """What one trigger has wanted.

    Attributes:
        made: The triggers that were added for it, as what is behind ``hist:``.

    Args:
        triggers_of: The triggers of the event of that group and name; ``None``: no such event.
        find: Finds the variables of other events' triggers.
        write: Adds a hist trigger to an event, or with ``removes`` removes it.
    """

    def __init__(
        self,
        triggers_of: Callable[[str, str], EventTriggers | None],
        find: FindVariable,
        write: Callable[[EventTriggers, str, bool], None],
    ) -> None:
        self.made: list[tuple[EventTriggers, str]] = []
        self._triggers_of = triggers_of
        self._find = find
        self._write = write

    def variable(self, group: str, event: str, name: str, keys: Sequence[HistField]) -> Variable:
        """The field ``name`` of an event as a variable, for a trigger with these ``keys``.

        Raises:
            HistError: There is none, or no trigger of the event has such keys.
        """
        if len(self.made) >= _MOST:
            raise _refusal("TOO_MANY_FIELD_VARS", name)
        triggers = self._triggers_of(group, event)
        if triggers is None:
            raise _refusal("EVENT_FILE_NOT_FOUND", name)
        like = next((each for each in triggers.histograms if _alike(_keys(each), keys)), None)
        if like is None:
            raise _refusal("HIST_NOT_FOUND", name)
        variable = f"synthetic_{name}"
        found = self._find(group, event, variable)
        if found is not None:
            return found
        about = f"keys={self._keys_text(like)}:{variable}={name}"
        if like.filter_text is not None:
            about += f" if {like.filter_text}"
        try:
            self._write(triggers, about, False)
        except HistError as error:
            raise HistError(
                error.errno or errno.EINVAL, *error.logged, LogEntry("HIST_CREATE_FAIL", name)
            ) from error
        self.made.append((triggers, about))
        found = self._find(group, event, variable)
        if found is None:
            raise _refusal("SYNTH_VAR_NOT_FOUND", name)
        return found

    def _keys_text(self, like: Trigger) -> str:
        assert like.histogram is not None
        definition = like.histogram.definition
        if keeps_keys(definition.version):
            return definition.attributes.keys
        return ",".join(map(_name, definition.keys))

    def remove(self) -> None:
        """Remove what was added."""
        while self.made:
            triggers, about = self.made.pop()
            self._write(triggers, about, True)


def _refusal(identifier: str, part: str) -> HistError:
    return HistError(errno.EINVAL, LogEntry(identifier, part))


def _keys(trigger: Trigger) -> Sequence[HistField]:
    assert trigger.histogram is not None
    return trigger.histogram.definition.keys


def _alike(keys: Sequence[HistField], others: Sequence[HistField]) -> bool:
    """compatible_keys()."""
    return [*map(_compared, keys)] == [*map(_compared, others)]


def _compared(key: HistField) -> tuple[object, ...]:
    return None if key.field is None else key.field.type, key.size, key.signed


def _name(key: HistField) -> str:
    """The field's name, without its modifier; the kernel dies of a key that is no field."""
    if key.field is None:
        raise HistError(errno.EINVAL, text="a key that is no field of an event cannot be matched")
    return key.field.name
