"""The events that a file's definitions have made so far: a name may stand for several alike."""

from __future__ import annotations

from kprobesim.dynevent.alike import check_alike
from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.grammar.c_text import as_bytes
from kprobesim.dynevent.grammar.command import Command
from kprobesim.sources.kprobe_events.definition import ANY_KERNEL

__all__ = ["Events"]


class Events:
    """Those that are there; ``add`` refuses what the kernel refuses with EEXIST."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], list[ProbeDefinition]] = {}

    def clear(self) -> None:
        """A file was opened to be written anew, which removes all."""
        self._made.clear()

    def remove(self, words: str) -> None:
        """``-:GROUP/EVENT``, ``-:EVENT`` of any group, or ``-:GROUP/``."""
        group, slash, event = words.split()[0].partition(":")[2].rpartition("/")
        for made in list(self._made):
            if (not slash or made[0] == group) and (not event or made[1] == event):
                del self._made[made]

    def add(self, definition: ProbeDefinition) -> None:
        """One more definition.

        Raises:
            ProbeEventError: An event of its name is there and is another's.
        """
        probes = self._made.setdefault((definition.group, definition.event), [])
        if probes:
            words = tuple(map(as_bytes, definition.words))
            check_alike(definition, probes, Command(words, ANY_KERNEL.dialect))
        probes.append(definition)
