"""``parse_any``: definitions as ``dynamic_events`` takes them, which knows more kinds of probes.

``f[N][:NAME] FUNCTION[%return]`` and ``t[:NAME] TRACEPOINT`` of kernel/trace/trace_fprobe.c (6.5),
``e[:NAME] GROUP.EVENT [ARGUMENTS] [if FILTER]`` of kernel/trace/trace_eprobe.c (5.15).
"""

from __future__ import annotations

import re

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.facts import KernelFacts
from kprobesim.dynevent.grammar.arguments import parse_arguments
from kprobesim.dynevent.grammar.c_text import as_bytes, as_text, split_words
from kprobesim.dynevent.grammar.command import Command
from kprobesim.dynevent.grammar.context import Context
from kprobesim.dynevent.grammar.names import parse_event_name
from kprobesim.dynevent.parse import parse_definition, parse_maxactive

__all__ = ["parse_any"]

_RETVAL = re.compile(r"\$retval(?![A-Za-z0-9_])")
_FPROBES, _TRACEPOINTS, _EVENTS = "fprobes", "tracepoints", "eprobes"


def parse_any(line: str, kernel: KernelFacts) -> ProbeDefinition:
    """The probe that ``line`` defines, whatever its kind.

    Args:
        line: A definition without a comment.
        kernel: Whose grammar it is.

    Raises:
        ProbeEventError: This kernel refuses it before it looks whether there may be a probe.
    """
    command = Command(split_words(as_bytes(line)), kernel.dialect)
    kind = command.words[0][0] if command.words else ""
    if len(command.words) > 1 and kind in ("f", "t"):
        return _parse_fprobe(command, kernel)
    if len(command.words) > 1 and kind == "e":
        return _parse_eprobe(command, kernel)
    return parse_definition(line, kernel)


def _parse_fprobe(command: Command, kernel: KernelFacts) -> ProbeDefinition:
    words = command.words
    kind = words[0][0]
    head, colon, name = words[0][1:].partition(":")
    maxactive = 0
    if head:
        if kind == "t" or not re.match("[0-9]", head):
            raise command.refusal("BAD_MAXACT", 0, 1)
        maxactive = parse_maxactive(head, command)
    symbol, exits = _traced(command)
    if maxactive and not exits:
        raise command.refusal("BAD_MAXACT_TYPE", 0, 1)
    group, event = parse_event_name(name, len(head) + 2, command) if colon else (None, None)
    if event is None:
        start = "_" if kind == "t" and symbol[:1].isdigit() else ""
        event = start + symbol + ("" if kind == "t" else "__exit" if exits else "__entry")
        event = re.sub("[:.*]", "_", event[:63])
    context = Context(
        command, kernel, function=symbol, at_entry=not exits, returns=exits, has_registers=False
    )
    arguments = parse_arguments(list(words[2:]), context)
    module, _, function = symbol.rpartition(":")
    return ProbeDefinition(
        kind=kind,
        group=as_text(group or (_TRACEPOINTS if kind == "t" else _FPROBES)),
        event=as_text(event),
        symbol=as_text(function),
        arguments=arguments,
        words=tuple(map(as_text, command.words)),
        maxactive=maxactive,
        module=as_text(module) or None,
        at_exit=exits,
    )


def _traced(command: Command) -> tuple[str, bool]:
    """The function or tracepoint, and whether the probe is where the function returns."""
    words = command.words
    is_tracepoint = words[0][0] == "t"
    symbol, percent, suffix = words[1].partition("%")
    if percent:
        if is_tracepoint or suffix != "return":
            raise command.refusal("BAD_ADDR_SUFFIX", 1, len(symbol))
        return symbol, True
    wrong = re.search(r"[^A-Za-z0-9_]", symbol) if is_tracepoint else None
    if wrong is not None:
        raise command.refusal("BAD_TP_NAME", 1, wrong.start())
    for index, word in enumerate(words[2:], 2):
        found = _RETVAL.search(word)
        if found is not None:
            if is_tracepoint:
                raise command.refusal("RETVAL_ON_PROBE", index, found.start())
            return symbol, True
    return symbol, False


def _parse_eprobe(command: Command, kernel: KernelFacts) -> ProbeDefinition:
    words = command.words
    head, colon, name = words[0].partition(":")
    if head != "e":
        raise command.silent()
    group, event = parse_event_name(name, len(head) + 1, command) if colon else (None, None)
    try:
        system, attached = parse_event_name(words[1], 0, command)
    except ProbeEventError as error:
        raise command.refusal("NO_EVENT_INFO", 1) from error
    if system is None or attached is None:
        raise command.refusal("NO_EVENT_INFO", 1)
    behind = list(words[2:])
    if "if" in behind:
        at = behind.index("if")
        if not behind[at + 1 :]:
            raise command.refusal("NO_EP_FILTER", at + 3)
        del behind[at:]
    context = Context(command, kernel, event=True, has_registers=False)
    return ProbeDefinition(
        kind="e",
        group=as_text(group or _EVENTS),
        event=as_text(event or attached),
        symbol=as_text(f"{system}:{attached}"),
        arguments=parse_arguments(behind, context),
        words=tuple(map(as_text, command.words)),
    )
