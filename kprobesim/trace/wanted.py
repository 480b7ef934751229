"""``Wanted``: an event that somebody asks for, and the definitions that it takes.

A definition may name what ``kprobe_events`` does not know: a line of the source, ``p
fs/open.c:1390``, which is a probe at each place that its code is at; and many functions, ``p
vfs_*``, each of which gets an event of its own, or a probe of the one that is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kprobesim.errors import KprobesimError, UsageError
from kprobesim.functions.dwarf.line_places import LINE

__all__ = ["Places", "Wanted", "definitions_of", "wanted_of"]

_PATTERN = re.compile(r"[*?\[]")
_NO_NAME = re.compile(r"\W")
_LONGEST = 63  # MAX_EVENT_NAME_LEN, without its NUL


@dataclass(frozen=True)
class Wanted:
    """One event.

    Attributes:
        definition: As a line of ``kprobe_events``, with a source line or a pattern as the place.
        filter: As the file ``filter`` of the event takes it; "": all hits.
    """

    definition: str
    filter: str = ""


@dataclass(frozen=True)
class Places:
    """Who knows what a place is that kprobe_events does not know.

    Attributes:
        of_line: The places of a source line.
        of_pattern: The functions of a pattern; those that may be followed to their returns if that
            is asked for.
        why_not: What is wrong with a place where there may be no probe, in more words than the
            kernel's.
    """

    of_line: Callable[[str], Sequence[str]]
    of_pattern: Callable[[str, bool], Sequence[str]]
    why_not: Callable[[str], KprobesimError | None]


def wanted_of(events: Sequence[str | tuple[str, str] | Wanted], filter: str | None) -> list[Wanted]:
    """What was asked for; ``filter`` is that of events that have none of their own.

    Raises:
        UsageError: It is no definition, and no pair of a definition and a filter.
    """
    found = []
    for event in events:
        if isinstance(event, Wanted):
            found.append(replace(event, filter=event.filter or filter or ""))
        elif isinstance(event, str):
            found.append(Wanted(event, filter or ""))
        elif (
            isinstance(event, tuple) and len(event) == 2 and all(isinstance(e, str) for e in event)
        ):
            found.append(Wanted(*event))
        else:
            raise UsageError(
                f"{event!r} is no definition: give it as text, or a pair of it and a filter"
            )
    if not found:
        raise UsageError("nothing is to be traced: give a definition, such as 'p vfs_read'")
    return found


def definitions_of(wanted: Wanted, places: Places) -> Iterator[str]:
    """The lines for ``kprobe_events``.

    Raises:
        UsageError: It does not say what kind of probe it is, or a source line has no code.
        KprobeError: A pattern matches nothing.
    """
    words = wanted.definition.split()
    if not words or words[0][0] not in "pr" or (len(words) == 1 and len(words[0]) > 1):
        raise UsageError(
            f"{wanted.definition!r} is no definition: it begins with p (a function is entered, an "
            f"instruction reached) or r (a function returns), as in: 'p {wanted.definition}'"
        )
    if len(words) == 1 or "\n" in wanted.definition:
        raise UsageError(f"{wanted.definition!r}: give one definition with a place: 'p vfs_read'")
    head, place, arguments = words[0], words[1], words[2:]
    if LINE.fullmatch(place):
        if ":" not in head:
            head = f"{head}:{_NO_NAME.sub('_', f'{head[0]}_{place}')[-_LONGEST:]}"
        found = places.of_line(place)
    elif _PATTERN.search(place):
        found = places.of_pattern(place, head[0] == "r")
    else:
        yield wanted.definition
        return
    for one in found:
        yield " ".join([head, one, *arguments])
