"""The events that a file's definitions have made so far: a name may stand for several alike.

kernel/trace/trace_kprobe.c, ``append_trace_kprobe()``: probes of one event are of one kind, have
the same arguments by name and type, and are not the same probe.
"""

from __future__ import annotations

from kprobesim.sources.kprobe_events.definition import Definition
from kprobesim.sources.kprobe_events.fetch import DefinitionError, split_type
from kprobesim.sources.places import Point
from kprobesim.sources.wanted import WantedArgument

__all__ = ["Events"]

_Probe = tuple[Point, tuple[WantedArgument, ...]]


class Events:
    """Those that are there; ``add`` refuses what the kernel refuses with EEXIST."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], tuple[Definition, set[_Probe]]] = {}

    def clear(self) -> None:
        """A file was opened to be written anew, which removes all."""
        self._made.clear()

    def remove(self, words: str) -> None:
        """``-:GROUP/EVENT``, ``-:EVENT`` of any group, or ``-:GROUP/``."""
        group, slash, event = words.split()[0].partition(":")[2].rpartition("/")
        for made in list(self._made):
            if (not slash or made[0] == group) and (not event or made[1] == event):
                del self._made[made]

    def add(self, definition: Definition) -> None:
        """One more definition.

        Raises:
            DefinitionError: An event of its name is there and is another's.
        """
        if definition.event is None:
            return  # named after its place
        name = f"{definition.group}/{definition.event}"
        probe = definition.point, definition.arguments
        first, probes = self._made.setdefault(
            (definition.group, definition.event), (definition, set())
        )
        if (first.interface, first.returns) != (definition.interface, definition.returns):
            raise DefinitionError(0, f"the event {name} is there, and of another kind of probe")
        if list(map(_kind, first.arguments)) != list(map(_kind, definition.arguments)):
            raise DefinitionError(
                0, f"the event {name} is there, and has other arguments (by name or type)"
            )
        if probe in probes:
            raise DefinitionError(0, f"the very same probe is in the event {name} already")
        probes.add(probe)


def _kind(argument: WantedArgument) -> tuple[str, str]:
    """An argument's name and type."""
    name, equals, body = argument.text.partition("=")
    if not equals:
        name, body = "", argument.text
    return name, split_type(body)[2]
