"""Actions of a hist trigger with what they name: ``create_actions()`` of trace_events_hist.c."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kprobesim.trace.hist.actions import Handler, HistAction
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.expression import Expressions
from kprobesim.trace.hist.hist_field import HistField, HistFlag
from kprobesim.trace.hist.reference import Variable
from kprobesim.trace.synthetic.event import SyntheticEvent
from kprobesim.trace.synthetic.field import SynthField

__all__ = ["ActionBinder", "BoundAction", "OthersField"]

OthersField = Callable[[str, str, str], Variable]
"""A field of the event of that group and name as a variable."""


@dataclass(frozen=True, eq=False)
class BoundAction:
    """One action.

    Attributes:
        action: What was written.
        parameters: References whose values are recorded, by their numbers.
        tracked: The number of the reference that ``onmax()`` and ``onchange()`` look at.
        saved: The fields that it keeps.
        synthetic: The event that it records; ``None``: none.
    """

    action: HistAction
    parameters: tuple[int, ...] = ()
    tracked: int = -1
    saved: tuple[HistField, ...] = ()
    synthetic: SyntheticEvent | None = None

    def __str__(self) -> str:
        """As the file ``trigger`` shows it."""
        return self.action.text(tuple(field.variable for field in self.saved))


class ActionBinder:
    """Binds the actions of one trigger.

    Attributes:
        fields: Fields of the event that the actions want as variables, too.

    Args:
        expressions: Reads fields, and finds the variables of others.
        event: Group and name of the trigger's own event.
        variables: The trigger's own variables.
        synthetic: Finds a synthetic event by its name.
        others_field: Makes variables of fields of other events.
    """

    def __init__(
        self,
        expressions: Expressions,
        event: tuple[str, str],
        variables: Sequence[HistField],
        synthetic: Callable[[str], SyntheticEvent | None],
        others_field: OthersField,
    ) -> None:
        self.fields: list[HistField] = []
        self._expressions = expressions
        self._event = event
        self._own = {field.variable: Variable(None, field, field.variable) for field in variables}
        self._synthetic = synthetic
        self._others_field = others_field
        self._saves = False

    def bind(self, action: HistAction) -> BoundAction:
        """The action with what it names.

        Raises:
            HistError: The kernel refuses it.
        """
        tracked = -1
        if action.handler is not Handler.ONMATCH:
            tracked = self._tracked(action)
        if action.snapshots:
            return BoundAction(action, tracked=tracked)
        if action.saves:
            return BoundAction(action, tracked=tracked, saved=self._saved(action))
        event = self._synthetic(action.synthetic)
        if event is None:
            raise self._refusal("SYNTH_EVENT_NOT_FOUND", action.synthetic)
        numbers = []
        for number, text in enumerate(action.parameters):
            variable = self._parameter(action, text)
            known = event.synth_fields[number : number + 1]
            if not known or not _fits(known[0], variable.field):
                raise self._refusal("SYNTH_TYPE_MISMATCH", text.rpartition(".")[2])
            numbers.append(self._expressions.refer(variable))
        if len(numbers) != len(event.synth_fields):
            raise self._refusal("SYNTH_COUNT_MISMATCH", event.name)
        return BoundAction(action, tuple(numbers), tracked, synthetic=event)

    def _refusal(self, identifier: str, part: str = "", number: int = errno.EINVAL) -> HistError:
        return HistError(number, *self._expressions.logged, LogEntry(identifier, part))

    def _tracked(self, action: HistAction) -> int:
        if not action.about.startswith("$"):
            raise self._refusal("ONX_NOT_VAR", action.about)
        variable = self._own.get(action.about[1:])
        if variable is None:
            raise self._refusal("ONX_VAR_NOT_FOUND", action.about[1:])
        return self._expressions.refer(variable)

    def _saved(self, action: HistAction) -> tuple[HistField, ...]:
        if self._saves:
            raise self._refusal("TOO_MANY_SAVE_ACTIONS", number=errno.EEXIST)
        self._saves = True
        return tuple(self._field(text, "FIELD_VAR_CREATE_FAIL") for text in action.parameters)

    def _field(self, text: str, identifier: str) -> HistField:
        """A field of the event as a variable of its own name."""
        try:
            return self._expressions.read(text, HistFlag.VAR, text)
        except HistError as error:
            logged = *error.logged, LogEntry("FIELD_VAR_PARSE_FAIL", text)
            raise HistError(errno.EINVAL, *logged, LogEntry(identifier, text)) from error

    def _parameter(self, action: HistAction, text: str) -> Variable:
        """``$VARIABLE``, ``FIELD``, or one of them behind ``GROUP.EVENT.``."""
        parts = text.split(".", 2)
        if len(parts) == 2:
            raise HistError(errno.EINVAL, *self._expressions.logged)
        group, event, name = parts if len(parts) > 1 else (None, None, text)
        mine = group is None or (group, event) == self._event
        if name.startswith("$"):
            found = self._own.get(name[1:]) if mine else None
            if found is None and group is None and action.handler is Handler.ONMATCH:
                group, event = action.event
            if found is None:
                found = self._expressions.find(group, event, name[1:])
            if found is None:
                raise self._refusal("PARAM_NOT_FOUND", name[1:])
            return found
        if name in self._own:
            return self._own[name]
        if mine and self._expressions.has_field(name):
            field = replace(self._field(name, "FIELD_VAR_CREATE_FAIL"), signed=False)
            self.fields.append(field)
            self._own[name] = Variable(None, field, name)
            return self._own[name]
        if mine:
            said = ("FIELD_NOT_FOUND", "FIELD_VAR_PARSE_FAIL")
            self._expressions.logged += [LogEntry(identifier, name) for identifier in said]
        if group is None and action.handler is Handler.ONMATCH:
            group, event = action.event
        if group is None or event is None:
            raise HistError(errno.EINVAL, *self._expressions.logged)
        try:
            return self._others_field(group, event, name)
        except HistError as error:
            raise HistError(errno.EINVAL, *self._expressions.logged, *error.logged) from error


def _fits(field: SynthField, given: HistField) -> bool:
    """check_synth_field()."""
    kind = "" if given.field is None else given.field.type
    if given.has(HistFlag.STRING) and field.is_string and field.is_dynamic:
        return True
    if kind and kind == field.type:
        return True
    return field.size == given.size and (field.is_string or field.signed == given.signed)
