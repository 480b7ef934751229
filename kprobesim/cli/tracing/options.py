"""``-e`` and ``--filter``: a filter belongs to the event before it, as ``perf record`` has it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from kprobesim.trace.wanted import Wanted

__all__ = ["EventAction", "FilterAction"]


class EventAction(argparse.Action):
    """One more event, without a filter of its own."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """See the base class."""
        events = [*getattr(namespace, self.dest), Wanted(str(values))]
        setattr(namespace, self.dest, events)


class FilterAction(argparse.Action):
    """The filter of the last event; before the first one that of all that have none."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """See the base class."""
        text, events = str(values), list(namespace.events)
        before = events[-1].filter if events else namespace.filter
        if before:
            parser.error(f"--filter {text!r}: there is one already, {before!r}: join them with &&")
        if events:
            namespace.events = [*events[:-1], Wanted(events[-1].definition, text)]
        else:
            namespace.filter = text
