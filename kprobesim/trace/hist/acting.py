"""What the actions of a histogram do at a hit, and what its file ``hist`` says of them.

kernel/trace/trace_events_hist.c: ``hist_trigger_actions()``, ``ontrack_action()``,
``print_actions()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kprobesim.hexrepr import HexRepr
from kprobesim.trace.hist.actions import Handler
from kprobesim.trace.hist.bound_actions import BoundAction
from kprobesim.trace.hist.computing import Compute, Leaves, compute
from kprobesim.trace.hist.entry import Entry
from kprobesim.trace.hist.hist_field import HistField, HistFlag

__all__ = ["Acting", "Taken"]

_WORDS = {Handler.ONMAX: "max", Handler.ONCHANGE: "changed"}


@dataclass(repr=False)
class Taken(HexRepr):
    """The snapshot that a histogram's action took last.

    Attributes:
        value: What triggered it.
        key: Of the entry that did.
        comm: Its task.
    """

    value: int = 0
    key: tuple[Any, ...] | None = None
    comm: str = ""


class Acting:
    """The actions of one histogram.

    Attributes:
        taken: The snapshot that was taken.

    Args:
        actions: They.
        leaves: What of a hit is recorded.
        record: Records a synthetic event with these values.
        take_snapshot: Takes a snapshot of the trace.
    """

    def __init__(
        self,
        actions: Sequence[BoundAction],
        leaves: Leaves,
        record: Callable[[BoundAction, list[Any]], None],
        take_snapshot: Callable[[], None],
    ) -> None:
        self.taken = Taken()
        self._record = record
        self._take_snapshot = take_snapshot
        self._actions = [
            (bound, [compute(field, leaves) for field in bound.saved]) for bound in actions
        ]

    def act(self, entry: Entry, found: Sequence[Any], references: Sequence[Any]) -> None:
        """Do what is to be done at a hit.

        Args:
            entry: What the hit was counted in.
            found: What was recorded of it, and the references.
            references: What each reference is.
        """
        for bound, saved in self._actions:
            handler = bound.action.handler
            if handler is not Handler.ONMATCH:
                value, before = references[bound.tracked], entry.tracked.get(handler, 0)
                if value <= before if handler is Handler.ONMAX else value == before:
                    continue
                entry.tracked[handler] = value
            self._do(bound, saved, entry, found, references)

    def _do(
        self,
        bound: BoundAction,
        saved: list[Compute],
        entry: Entry,
        found: Sequence[Any],
        references: Sequence[Any],
    ) -> None:
        if bound.action.saves:
            entry.saved = [make(found) for make in saved]
        elif bound.action.snapshots:
            self._snapshot(bound, entry)
        else:
            self._record(bound, [references[number] for number in bound.parameters])

    def _snapshot(self, bound: BoundAction, entry: Entry) -> None:
        """Of all keys the largest value, or one that is another than the last, takes one."""
        handler, taken = bound.action.handler, self.taken
        value = entry.tracked[handler]
        if value <= taken.value if handler is Handler.ONMAX else value == taken.value:
            return
        self.taken = Taken(value, entry.key, entry.comm)
        self._take_snapshot()

    def entry_text(self, entry: Entry) -> str:
        """What stands behind the values of an entry."""
        text = ""
        for bound, _ in self._actions:
            word = _WORDS.get(bound.action.handler)
            if word is None or bound.action.snapshots:
                continue
            text += f"\n\t{word}: {entry.tracked.get(bound.action.handler, 0):10}"
            fields = self._saved_fields
            values = entry.saved or [b"" if f.has(HistFlag.STRING) else 0 for f in fields]
            for field, value in zip(fields, values, strict=True):
                if field.has(HistFlag.STRING):
                    text += f"  {field.variable}: {value.decode('utf-8', 'surrogateescape'):<32}"
                else:
                    text += f"  {field.variable}: {value:10}"
        return text

    @property
    def _saved_fields(self) -> tuple[HistField, ...]:
        return next((bound.saved for bound, _ in self._actions if bound.saved), ())

    def snapshot_text(self, show_key: Callable[[Taken], str]) -> str:
        """What stands below the entries, if a snapshot was taken.

        Args:
            show_key: Shows the key of a snapshot.
        """
        for bound, _ in self._actions:
            if bound.action.snapshots and self.taken.key is not None:
                action = bound.action
                value = f"{{ {action.handler.value}({action.about}) }}: {self.taken.value:10}"
                return (
                    "\nSnapshot taken (see tracing/snapshot).  Details:\n"
                    f"\ttriggering value {value}"
                    f"\ttriggered by event with key: {show_key(self.taken)}\n"
                )
        return ""
