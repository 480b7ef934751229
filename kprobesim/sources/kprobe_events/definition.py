"""A definition as all readers of this room tell of probes: by its interface, place, arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from kprobesim.dynevent.any_kernel import AnyKernel
from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.fetch import Address, Argument, Cast, Fetch, Field, Register, Variable
from kprobesim.dynevent.fetch import Retval as ReturnValue
from kprobesim.dynevent.grammar.c_text import as_bytes, as_text, split_words
from kprobesim.dynevent.grammar.place import split_symbol
from kprobesim.dynevent.other_kinds import parse_any
from kprobesim.sources.kprobe_events.sentences import SENTENCES
from kprobesim.sources.wanted import Interface, WantedArgument

__all__ = ["ANY_KERNEL", "Definition", "parse_definition", "told"]

#: Whose grammar a source is read by: which kernels take a definition, each is asked later.
ANY_KERNEL = AnyKernel()

_INTERFACES = {
    "p": Interface.KPROBE_EVENTS,
    "r": Interface.KPROBE_EVENTS,
    "f": Interface.FPROBE_EVENTS,
    "t": Interface.TPROBE_EVENTS,
    "e": Interface.TRACEPOINT,
}
#: What each event has, and what is no field at all: no kernel lacks them.
_FEWEST_WITH_ARGUMENTS = 2
_EVERY_EVENT = ("comm", "COMM", "cpu", "CPU", "stacktrace", "STACKTRACE")


@dataclass(frozen=True)
class Definition:
    """A definition that some kernel takes.

    Attributes:
        parsed: What the grammar makes of it.
        interface: The interface that it is for.
        event: The event's name, if it was given one.
        arguments: What it reads.
    """

    parsed: ProbeDefinition
    interface: Interface
    event: str | None
    arguments: tuple[WantedArgument, ...]


def parse_definition(line: str) -> Definition:
    """One line of ``kprobe_events`` or ``dynamic_events`` that creates an event.

    Raises:
        ProbeEventError: Every kernel refuses it.
    """
    parsed = parse_any(line, ANY_KERNEL)
    words = tuple(map(as_text, split_words(as_bytes(line))))
    _, _, name = words[0].partition(":")
    named = name and not name.endswith("/")
    pairs = zip(words[2:], parsed.arguments, strict=False)  # behind those there may be a filter
    return Definition(
        parsed,
        _INTERFACES[parsed.kind],
        parsed.event if named else None,
        tuple(_wanted(word, argument.fetch) for word, argument in pairs),
    )


def told(error: ProbeEventError, who: str = "kernels say") -> str:
    """What is wrong with a definition and what to do, and a kernel's own words for it.

    Args:
        error: The refusal.
        who: Whose words they are.
    """
    sentence = SENTENCES.get(error.id, "")
    if not error.id and len(error.command.split()) > _FEWEST_WITH_ARGUMENTS:
        sentence = "arguments by their names need a function by its name"
    own = f"{who} {error.text!r}" if error.id else ""
    return f"{sentence}; {own}" if sentence and own else sentence or own


def _wanted(word: str, fetch: Fetch) -> WantedArgument:
    found: dict[str, Any] = {}
    for each in _parts(fetch):
        if isinstance(each, Register):
            found["register"] = each.name
        elif isinstance(each, Argument):
            found["ordinal"] = each.number - 1
        elif isinstance(each, ReturnValue):
            found["returned"] = True
        elif isinstance(each, Address) and each.symbol is not None:
            found["symbol"] = split_symbol(each.symbol)[1]
        elif isinstance(each, Field) and _is_own(each.name):
            found["name"] = each.name
        elif isinstance(each, Variable):
            found |= _variable(each)
        elif isinstance(each, Cast):
            found |= {"type": f"struct {each.structure}", "members": each.members}
    return WantedArgument(word, **found)


def _variable(variable: Variable) -> dict[str, Any]:
    if variable.name.startswith("$"):
        returned = variable.name == "$retval"
        return {"returned": True, "members": variable.members} if returned else {}
    return {"name": variable.name, "members": variable.members}


def _is_own(name: str) -> bool:
    return not name.startswith("common_") and name not in _EVERY_EVENT


def _parts(fetch: Any) -> Iterator[object]:
    """What is read, from the innermost on."""
    for field in fields(fetch):
        inner = getattr(fetch, field.name)
        if is_dataclass(inner):
            yield from _parts(inner)
    yield fetch
