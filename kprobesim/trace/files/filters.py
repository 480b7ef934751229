"""``filter`` of an event, and of a group, which is that of all its events.

event_filter_write() and subsystem_filter_write() of kernel/trace/trace_events.c,
process_system_preds() of trace_events_filter.c (6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from kprobesim.image import KernelImage
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.node import File, Setting
from kprobesim.trace.filters.comparison import SPACE
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.event_filter import apply_filter
from kprobesim.trace.filters.facts import FilterFacts
from kprobesim.trace.filters.versions import column_bits
from kprobesim.trace.image_texts import kernel_text

__all__ = ["FilterFiles"]

_OF_A_GROUP = b"### global filter ###\n"
_BAD = "BAD_SUBSYS_FILTER"


class FilterFiles:
    """Makes the files of one kernel.

    Args:
        image: The kernel's.
        facts: What filters ask of it.
        log: Hears of what is refused.
    """

    def __init__(self, image: KernelImage, facts: FilterFacts, log: ErrorLog) -> None:
        self._image = image
        self._facts = facts
        self._log = log

    def of_event(self, event: TraceEvent) -> File:
        """The file ``filter`` of an event."""

        def change(text: str) -> None:
            try:
                apply_filter(event, text, self._facts)
            except FilterError as error:
                self._log.write(error.entry)
                raise

        return Setting(lambda: f"{event.filter}\n", change)

    def of_group(self, events: Callable[[], Iterable[TraceEvent]]) -> File:
        """The file ``filter`` of a group; an event that has no such field gets none."""

        def change(text: str) -> None:
            for event in events():
                try:
                    apply_filter(event, text, self._facts)
                except FilterError:
                    written, bits = text.rstrip(SPACE), column_bits(self._facts.version)
                    refused = FilterError(errno.EINVAL, written, _BAD, logged_bits=bits)
                    event.restrict(None, refused.shown)
                    self._log.write(refused.entry)

        return Setting(lambda: kernel_text(self._image, _OF_A_GROUP) or "none\n", change)
