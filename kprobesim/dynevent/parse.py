"""``parse_definition``: one line of ``kprobe_events`` that makes a probe."""

from __future__ import annotations

import re
from contextlib import suppress

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.facts import KernelFacts
from kprobesim.dynevent.grammar.arguments import parse_arguments
from kprobesim.dynevent.grammar.c_text import as_bytes, as_text, kstrtouint, split_words
from kprobesim.dynevent.grammar.command import Command
from kprobesim.dynevent.grammar.context import Context
from kprobesim.dynevent.grammar.names import default_name, parse_event_name
from kprobesim.dynevent.grammar.place import Place, parse_place

__all__ = ["DEFAULT_GROUP", "parse_definition", "parse_maxactive", "parse_old_or_new"]

DEFAULT_GROUP = "kprobes"
_MOST_ACTIVE = 4096  # KRETPROBE_MAXACTIVE_MAX
_MOST_DIGITS = 63


def parse_definition(line: str, kernel: KernelFacts) -> ProbeDefinition:
    """The probe that ``line`` defines.

    Args:
        line: ``p:GROUP/EVENT PLACE ARGUMENTS``, without a comment.
        kernel: Whose grammar it is.

    Raises:
        ProbeEventError: This kernel refuses it before it looks whether there may be a probe.
    """
    command = Command(split_words(as_bytes(line)), kernel.dialect)
    words = command.words
    if len(words) < 2 or words[0][0] not in "pr":
        raise command.silent()
    head, colon, name = words[0][1:].partition(":")
    returns = words[0][0] == "r"
    maxactive = _parse_maxactive(head, command, returns=returns)
    place = parse_place(command, kernel, returns=returns)
    group: str | None = None
    event: str | None = None
    if colon:
        group, event = parse_event_name(name, len(head) + 2, command)
    if event is None:
        event = _default_event(place, command, kernel)
    module, symbol = _split_module(place.symbol)
    context = Context(
        command,
        kernel,
        function=place.symbol,
        at_entry=place.at_entry,
        returns=place.returns and place.flagged,
    )
    arguments = parse_arguments(list(command.words[2:]), context)
    return ProbeDefinition(
        kind="r" if place.returns else "p",
        group=as_text(group or DEFAULT_GROUP),
        event=as_text(event),
        symbol=symbol,
        arguments=arguments,
        words=tuple(map(as_text, command.words)),
        maxactive=maxactive,
        module=module,
        offset=place.offset,
        address=place.address,
    )


def parse_old_or_new(line: str, kernel: KernelFacts) -> tuple[ProbeDefinition, KernelFacts]:
    """The probe that ``line`` defines in the newest grammar, or else in the kernel's own.

    The newest refuses what older ones take: ``$retval`` of a function in assembly, which BTF has as
    void.

    Args:
        line: As for :func:`parse_definition`.
        kernel: The kernel.

    Returns:
        The probe, and the kernel with the grammar that it is in.

    Raises:
        ProbeEventError: Both refuse it: what the newest says.
    """
    try:
        return parse_definition(line, kernel.newest), kernel.newest
    except ProbeEventError:
        with suppress(ProbeEventError):
            return parse_definition(line, kernel), kernel
        raise


def _parse_maxactive(text: str, command: Command, *, returns: bool) -> int:
    if not re.match("[0-9]", text):
        return 0  # whatever else stands there
    if not returns:
        raise command.refusal("BAD_MAXACT_TYPE", 0, 1)
    return parse_maxactive(text, command)


def parse_maxactive(text: str, command: Command) -> int:
    """The number behind ``r`` or ``f``.

    Raises:
        ProbeEventError: It is none, or too large.
    """
    number, found = kstrtouint(text)
    if len(text) > _MOST_DIGITS or number or not found:
        raise command.refusal("BAD_MAXACT", 0, 1)
    if found > _MOST_ACTIVE:
        raise command.refusal("MAXACT_TOO_BIG", 0, 1)
    return found


def _default_event(place: Place, command: Command, kernel: KernelFacts) -> str:
    if place.symbol is None:
        assert place.address is not None
        text = f"0x{kernel.pointer_text(place.address)}"
    else:
        text = f"{place.symbol}_{place.offset}"
    return default_name("r" if place.returns else "p", text, command)


def _split_module(symbol: str | None) -> tuple[str | None, str | None]:
    if symbol is None or ":" not in symbol:
        return None, None if symbol is None else as_text(symbol)
    module, _, name = symbol.partition(":")
    return as_text(module), as_text(name)
