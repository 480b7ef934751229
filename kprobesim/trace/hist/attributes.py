"""The attributes of a hist trigger: ``keys=...:vals=...:sort=...:size=...:pause`` and so on."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from kprobesim.trace.filters.numbers import kstrtoul
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.versions import SINCE_NOHITCOUNT

__all__ = ["Attributes", "parse_attributes", "split_filter"]

_LIST = {
    "keys": ("key=", "keys="),
    "values": ("val=", "vals=", "values="),
    "sort": ("sort=",),
    "clock": ("clock=",),
}
_FLAGS = {"pause": "pause", "cont": "cont", "continue": "cont", "clear": "clear"}
_ACTIONS = ("onmatch(", "onmax(", "onchange(")
_MOST_VARIABLES = 16  # TRACING_MAP_VARS_MAX
_MOST_ACTIONS = 8  # HIST_ACTIONS_MAX
_BITS = range(7, 18)  # TRACING_MAP_BITS_MIN, TRACING_MAP_BITS_MAX


@dataclass
class Attributes:
    """What a hist trigger says of itself.

    Attributes:
        keys: The text behind ``keys=``.
        values: The text behind ``vals=``; ``None``: there is none.
        sort: The text behind ``sort=``; ``None``: there is none.
        name: The text behind ``name=``, with that word before it as the kernel keeps it; or "".
        clock: The trace clock.
        bits: The table holds 2**bits keys.
        assignments: ``x=...`` for each variable.
        actions: ``onmatch(...)...`` and so on.
        pause: Whether the histogram is, or is to be, paused.
        cont: Whether one that exists is to go on.
        clear: Whether one that exists is to begin again.
        no_hitcount: Whether the hits are not shown.
    """

    keys: str = ""
    values: str | None = None
    sort: str | None = None
    name: str = ""
    clock: str = "global"
    bits: int = 11
    assignments: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    pause: bool = False
    cont: bool = False
    clear: bool = False
    no_hitcount: bool = False


def split_filter(written: str) -> tuple[str, str | None]:
    """A hist trigger and the filter behind it, which begins with ``if``.

    Raises:
        HistError: There is an ``if`` at its start, or nothing behind one.
    """
    at = written.find("if")
    while at >= 0:
        if at == 0:
            raise HistError(errno.EINVAL)
        if written[at - 1] in " \t":
            if at >= len(written) - 3:
                raise HistError(errno.EINVAL)
            if written[at + 2] in " \t":
                return written[: at - 1].strip(), written[at:].strip()
        at = written.find("if", at + 1)
    return written, None


def parse_attributes(text: str, version: tuple[int, ...]) -> Attributes:
    """The attributes that ``text`` has, without its filter.

    Raises:
        HistError: The kernel refuses them.
    """
    found = Attributes()
    for part in text.split(":"):
        _, equals, value = part.partition("=")
        if equals:
            if not value:
                raise HistError(errno.EINVAL, LogEntry("EMPTY_ASSIGNMENT", part))
            _assign(found, part)
        elif part in ("nohitcount", "NOHC") and version >= SINCE_NOHITCOUNT:
            found.no_hitcount = True
        elif part in _FLAGS:
            setattr(found, _FLAGS[part], True)
        elif part.startswith(_ACTIONS) and len(found.actions) < _MOST_ACTIONS:
            found.actions.append(part)
        else:
            raise HistError(errno.EINVAL)
    if not found.keys:
        raise HistError(errno.EINVAL)
    return found


def _assign(found: Attributes, part: str) -> None:
    for name, words in _LIST.items():
        word = next((word for word in words if part.startswith(word)), None)
        if word is not None:
            text = part[len(word) :]
            setattr(found, name, text.strip() if name == "clock" else text)
            return
    if part.startswith("name="):
        found.name = part
    elif part.startswith("size="):
        found.bits = _bits(part.removeprefix("size="))
    elif len(found.assignments) == _MOST_VARIABLES:
        raise HistError(errno.EINVAL, LogEntry("TOO_MANY_VARS", part))
    else:
        found.assignments.append(part)


def _bits(text: str) -> int:
    try:
        bits = max(kstrtoul(text) - 1, 0).bit_length()
    except OSError as error:
        raise HistError(error.errno or errno.EINVAL) from None
    if bits not in _BITS:
        raise HistError(errno.EINVAL)
    return bits
