"""One definition: ``p[:[GRP/]EVENT] [MOD:]SYM[+OFFS] [ARGS]`` and its kin.

What each kernel from 5.10 to 6.18 refuses is a fault with its column, as ``error_log`` shows it;
what depends on the kernel is left to it.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.sources.kprobe_events.fetch import DefinitionError, parse_argument
from kprobesim.sources.places import Point, parse_point
from kprobesim.sources.wanted import Interface, WantedArgument

__all__ = ["Definition", "parse_definition"]

_MOST_LINE = 4094
_MOST_NAME = 63
_MOST_ACTIVE = 4096  # KRETPROBE_MAXACTIVE_MAX
_MOST_ARGUMENTS = 128
_EVENT = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_GROUP = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_INTERFACES = {
    "p": Interface.KPROBE_EVENTS,
    "r": Interface.KPROBE_EVENTS,
    "f": Interface.FPROBE_EVENTS,
    "t": Interface.TPROBE_EVENTS,
    "e": Interface.TRACEPOINT,
}


@dataclass(frozen=True)
class Definition:
    """A definition that was understood; ``event`` is its name, if it has one, in ``group``."""

    interface: Interface
    point: Point
    returns: bool
    event: str | None
    arguments: tuple[WantedArgument, ...]
    group: str = "kprobes"


def parse_definition(line: str) -> Definition:
    """One line of ``kprobe_events`` that creates an event.

    Raises:
        DefinitionError: Every kernel refuses it. Its column counts in the words joined by one
            blank, as in ``error_log``.
    """
    if len(line) > _MOST_LINE:
        raise DefinitionError(0, f"a definition has at most {_MOST_LINE} characters")
    words = line.split()
    letter = words[0][0]
    if letter not in _INTERFACES:
        raise DefinitionError(0, "a definition begins with p, r, f, t or e")
    if len(words) < 2:
        raise DefinitionError(0, "a definition has at least two words: p:GROUP/EVENT SYMBOL")
    head, colon, name = words[0].partition(":")
    _check_active(letter, head[1:])
    group, event = _check_name(name, len(head) + 1) if colon else ("", None)
    place = len(words[0]) + 1
    interface = _INTERFACES[letter]
    point, returns = _place(interface, words[1], place)
    returns = returns or letter == "r"
    if returns and point.offset:
        raise DefinitionError(place, "a return probe is at the start of a function: leave + out")
    column = place + len(words[1]) + 1
    arguments: list[WantedArgument] = []
    used: set[str] = set()
    for word in words[2:]:
        if len(arguments) == _MOST_ARGUMENTS:
            raise DefinitionError(
                column,
                f"a probe reads at most {_MOST_ARGUMENTS} values: since 6.12 kernels refuse more "
                "(E2BIG), older ones drop them",
            )
        if letter == "e" and word.startswith("if"):
            break  # the rest is a filter
        try:
            argument = parse_argument(word, used)
        except DefinitionError as error:
            raise DefinitionError(column + error.at, error.problem) from None
        if argument.returned and not returns:
            raise DefinitionError(column + word.find("$"), "$retval is for return probes: write r")
        arguments.append(argument)
        column += len(word) + 1
    found = Definition(interface, point, returns, event, tuple(arguments))
    return dataclasses.replace(found, group=group) if group else found


def _check_active(letter: str, text: str) -> None:
    if not text:
        return
    if letter == "p":
        raise DefinitionError(1, "a number behind p: maxactive is for return probes, r")
    if re.fullmatch(r"[0-9]+", text) is None or int(text[:9]) == 0:
        if letter == "r" and re.fullmatch(r"-[0-9]+", text):
            return  # read as a huge unsigned by some, taken by all that were asked
        raise DefinitionError(
            1, f"{text[:40]!r} is no maxactive: a number from 1 to {_MOST_ACTIVE}"
        )
    if int(text[:9]) > _MOST_ACTIVE:
        raise DefinitionError(1, f"maxactive is at most {_MOST_ACTIVE}")


def _check_name(name: str, at: int) -> tuple[str, str | None]:
    """The group, empty if there is none, and the event, ``None`` if it has no name."""
    group = ""
    slash = name.find("/")
    if slash < 0 and "." in name:
        slash = name.find(".")
    if slash >= 0:
        group = name[:slash]
        if not group:
            raise DefinitionError(at, "the group before the / has no name")
        if len(group) > _MOST_NAME:
            raise DefinitionError(at, f"a group's name has at most {_MOST_NAME} characters")
        if _GROUP.fullmatch(group) is None:
            raise DefinitionError(at, "a group's name consists of letters, digits, _ and -")
        at += slash + 1
        name = name[slash + 1 :]
    if not name:
        return group, None
    if len(name) > _MOST_NAME:
        raise DefinitionError(at, f"an event's name has at most {_MOST_NAME} characters")
    if _EVENT.fullmatch(name) is None:
        raise DefinitionError(at, "an event's name must be one of C: letters, digits and _")
    return group, name


def _place(interface: Interface, word: str, at: int) -> tuple[Point, bool]:
    """The probe point, and whether ``%return`` follows it."""
    if interface is Interface.TRACEPOINT:
        group, dot, event = word.replace("/", ".").partition(".")
        if not dot or not group or not event:
            raise DefinitionError(at, "an event probe names GROUP.EVENT")
        return Point(f"{group}:{event}"), False
    text, percent, suffix = word.partition("%")
    if percent and suffix != "return":
        raise DefinitionError(at + len(text), f"%{suffix[:40]} is no suffix: only %return is")
    try:
        point = parse_point(text)
    except UsageError as error:
        raise DefinitionError(at, str(error)) from None
    if point.pattern:
        raise DefinitionError(at, "a definition names one function: * and ? are for BPF and ftrace")
    return point, bool(percent)
