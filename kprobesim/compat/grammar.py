"""Arguments of definitions that a kernel's own grammar refuses, in its own words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.parse import parse_definition
from kprobesim.sources.kprobe_events.definition import told
from kprobesim.sources.wanted import Interface, Wanted, WantedArgument

__all__ = ["refused_arguments"]

_EVENTS = (Interface.KPROBE_EVENTS, Interface.FPROBE_EVENTS, Interface.TPROBE_EVENTS)
#: kernel/trace/trace_btf.c and trace_probe.c: any of these looks arguments up in BTF.
_BY_NAMES = ("btf_find_func_proto", "parse_btf_arg", "find_btf_func_param", "query_btf_context")
_BEFORE_ARGUMENTS = 2  # words
_OWN_WORDS = "this kernel says"


def refused_arguments(asked: KernelFacts, wanted: Wanted) -> Iterator[Finding]:
    """What of ``wanted`` this kernel's events cannot read.

    A definition is given to the kernel's grammar, which stops at the first fault; of the others,
    and of what is no definition, registers and names are looked at.
    """
    error = _refusal(asked, wanted)
    faulty = None if error is None else _word(error)
    for number, argument in enumerate(wanted.arguments):
        mine = error if number == faulty else None
        found = _no_register(asked, argument) or _no_names(asked, wanted, argument)
        if found is not None:
            own = f"; {_OWN_WORDS} {mine.text!r}" if mine is not None and mine.text else ""
            yield replace(found, message=found.message + own)
        elif mine is not None:
            yield _finding(argument.text, mine)
    if error is not None and (faulty is None or faulty >= len(wanted.arguments)):
        yield _finding(wanted.text, error)


def _finding(text: str, error: ProbeEventError) -> Finding:
    message = f"{text}: {told(error, _OWN_WORDS)}"
    return Finding(Kind.REFUSED, message, error.errno or errno.EINVAL, found_by="rules")


def _refusal(asked: KernelFacts, wanted: Wanted) -> ProbeEventError | None:
    """What the kernel's grammar says to a definition, if it is one."""
    if wanted.definition is None:
        return None
    try:
        parse_definition(wanted.definition, asked.grammar)
    except ProbeEventError as error:
        return error
    return None


def _word(error: ProbeEventError) -> int | None:
    """Which argument is at fault; ``None``: none of them, or the kernel does not tell."""
    words = error.command[: error.column].count(" ")
    return words - _BEFORE_ARGUMENTS if error.id and words >= _BEFORE_ARGUMENTS else None


def _no_register(asked: KernelFacts, argument: WantedArgument) -> Finding | None:
    """Registers are named as in the kernel's ``regoffset_table`` (arch/*/kernel/ptrace.c)."""
    name = argument.register
    if name is None or name in asked.grammar.registers:
        return None
    abi = asked.known.image.isa.abi
    theirs = (isa.abi.arguments for isa in ARCHITECTURES.values())
    numbers = {names.index(name) for names in theirs if name in names}
    return Finding(
        Kind.REFUSED,
        f"{argument.text}: {asked.kernel.arch} has no register {name}",
        errno.EINVAL,
        instead=tuple(f"$arg{number + 1}, or %{abi.arguments[number]} here" for number in numbers),
        found_by="rules",
    )


def _no_names(asked: KernelFacts, wanted: Wanted, argument: WantedArgument) -> Finding | None:
    """Names of arguments came with Linux 6.5."""
    if wanted.interface not in _EVENTS or not argument.name or asked.has(*_BY_NAMES):
        return None
    return Finding(
        Kind.REFUSED,
        f"{argument.text}: this kernel's events read no arguments by their names, which "
        "came in 6.5",
        errno.EINVAL,
        instead=("$arg1 or a register",),
    )
