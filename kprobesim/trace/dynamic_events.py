"""``DynamicEvents``: what ``dynamic_events`` lists, and how writing changes it.

kernel/trace/trace_dynevent.c (5.10 to 7.3): ``create_dyn_event()``, ``dyn_event_release()``. Of the
kinds of dynamic events there are those of kprobes here, and synthetic ones.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kprobesim.dynevent.grammar.c_text import as_bytes, as_text, split_words
from kprobesim.trace.command_lines import command_lines
from kprobesim.trace.kprobe_events import EventProbe, KprobeEvents
from kprobesim.trace.synthetic.event import GROUP, SyntheticEvent
from kprobesim.trace.synthetic.events import SyntheticEvents

__all__ = ["DynamicEvents"]

_SYNTHETIC = "s:"
_DELETE = ("-", "!")


class DynamicEvents:
    """The dynamic events of one kernel, in the order in which they were defined.

    Args:
        probes: Those of kprobes.
        synthetic: The synthetic ones; ``None``: the kernel has none.
    """

    def __init__(self, probes: KprobeEvents, synthetic: SyntheticEvents | None) -> None:
        self._probes = probes
        self._synthetic = synthetic

    # -- the file ----------------------------------------------------------------------------------

    def read(self) -> str:
        """The file's text."""
        lines = [
            (probe.place, self._probes.line(event, probe)) for event, probe in self._probes.probes()
        ]
        lines += [(event.place, f"s:{event.group}/{event.listing}") for event in self._recorded()]
        return "".join(line for _, line in sorted(lines))

    def truncate(self) -> None:
        """The file is opened as ``>`` does it: all events go, or none if one is in use.

        Raises:
            ProbeEventError: One of kprobes is, with EBUSY.
            SyntheticError: A synthetic one is, with EBUSY.
        """
        self._probes.check_idle()
        if self._synthetic is not None:
            self._synthetic.truncate()
        self._probes.truncate()

    def write(self, text: str) -> None:
        """Each line is a command; the first that is refused ends it, those before it count.

        Raises:
            ProbeEventError: One is refused, with the errno of the write.
            SyntheticError: One for a synthetic event is.
        """
        for line in command_lines(text):
            self.command(line)

    def command(self, line: str) -> None:
        """One command: a definition of either kind, or one behind ``-`` or ``!`` to delete.

        Raises:
            ProbeEventError: It is refused.
            SyntheticError: It is for a synthetic event, and refused.
        """
        words = split_words(as_bytes(line))
        if not words:
            return
        if self._probes.deletes(line, words, _DELETE):
            self._delete(words)
        elif self._synthetic is not None and line.lstrip().startswith(_SYNTHETIC):
            self._synthetic.define(line)
        else:
            self._probes.command(line)

    def _delete(self, words: tuple[str, ...]) -> None:
        target = self._probes.target(words)
        found = self._probes.release(target)
        if self._synthetic is not None and target.group in (None, GROUP):
            found = self._synthetic.release(as_text(target.name), as_text(" ".join(words))) or found
        if not found:
            raise target.command.silent(errno.ENOENT)

    # -- for snapshots -----------------------------------------------------------------------------

    def order(self) -> list[list[Any]]:
        """The name of each event, and which of its probes, in their order."""
        return [name for _, name in sorted((each.place, name) for name, each in self._named())]

    def reorder(self, order: Sequence[Sequence[Any]]) -> None:
        """Have the order that :meth:`order` has found; what is not in it is behind it."""
        places = {(str(name), int(number)): place for place, (name, number) in enumerate(order)}
        for (name, number), each in self._named():
            each.place = places.get((name, number), each.place)
        self._probes.reorder()

    def _named(self) -> Iterator[tuple[list[Any], EventProbe | SyntheticEvent]]:
        for event in self._probes:
            for number, probe in enumerate(event.probes):
                yield [f"{event.group}/{event.name}", number], probe
        for synthetic in self._recorded():
            yield [synthetic.full_name, 0], synthetic

    def _recorded(self) -> Iterable[SyntheticEvent]:
        return () if self._synthetic is None else self._synthetic
