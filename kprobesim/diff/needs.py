"""What a source depends on in a kernel: functions, tracepoints, and members of types."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from kprobesim.bpf.core.relocate import relocate
from kprobesim.bpf.object import BpfObject
from kprobesim.diff.prototypes import Prototypes
from kprobesim.errors import KprobesimError
from kprobesim.sources.wanted import Interface, Source, Wanted, WantedArgument
from kprobesim.types.btf import Btf
from kprobesim.types.model import Array, Composite, Pointer, Type

__all__ = ["Needs", "needs_of"]

_EVENTS = frozenset(
    (
        Interface.TRACEPOINT,
        Interface.RAW_TRACEPOINT,
        Interface.TP_BTF,
        Interface.TPROBE_EVENTS,
    )
)
_LSM = frozenset((Interface.LSM, Interface.LSM_CGROUP))
_NO_FUNCTIONS = frozenset(
    (Interface.ITER, Interface.STRUCT_OPS, Interface.FREPLACE, Interface.LOAD)
)


@dataclass
class Needs:
    """What sources name, in the old kernel.

    Attributes:
        functions: Their functions.
        events: Their tracepoints, without the system before the name.
        types: Their types, as ``struct file``, each with the members that are read.
        notes: What could not be told, and what the old kernel does not have either.
    """

    functions: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    types: dict[str, set[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def needs_of(
    sources: Iterable[Source],
    functions: Collection[str],
    prefix: str,
    btf: Btf | None,
    prototypes: Prototypes | None,
) -> Needs:
    """What the sources depend on.

    Args:
        sources: What was read of scripts, objects and lists.
        functions: The names of the old kernel's functions, for patterns.
        prefix: What stands before a system call's name in its function's.
        btf: The old kernel's types.
        prototypes: Its functions' prototypes.
    """
    needs = Needs()
    for source in sources:
        needs.notes += [f"{source.path}: {problem.text}" for problem in source.problems]
        for wanted in source.wanted:
            targets = set(_functions(wanted, functions, prefix))
            needs.functions |= targets
            if wanted.interface in _EVENTS:
                needs.events.add(wanted.target.rpartition(":")[2])
            if btf is not None and prototypes is not None:
                for argument in wanted.arguments:
                    for target in sorted(targets)[:1]:
                        _read(needs, argument, target, btf, prototypes)
        if source.object is not None and btf is not None:
            _relocated(needs, source.object, btf)
    return needs


def _functions(wanted: Wanted, functions: Collection[str], prefix: str) -> Iterator[str]:
    if wanted.interface in _EVENTS or wanted.interface in _NO_FUNCTIONS or not wanted.target:
        return
    target = wanted.target
    if wanted.interface in _LSM:
        yield f"bpf_lsm_{target}"
    elif wanted.interface is Interface.SYSCALL:
        yield f"{prefix}{target}"
    elif wanted.regex:  # its reader has checked it
        found = re.compile(target).search
        yield from (name for name in functions if found(name))
    elif wanted.pattern:
        yield from (name for name in functions if fnmatchcase(name, target))
    else:
        yield target


def _read(
    needs: Needs, argument: WantedArgument, function: str, btf: Btf, prototypes: Prototypes
) -> None:
    """Note the members that an access goes through."""
    start: Type | None = None
    if argument.type is not None:
        word, _, name = argument.type.rpartition(" ")
        named = btf.named(name, Composite)
        start = next((each for each in named if word in ("", each.kind)), None)
    elif (proto := prototypes.function(function)) is not None:
        for number, parameter in enumerate(proto.parameters):
            if argument.ordinal == number or (argument.name and argument.name == parameter.name):
                start = parameter.type
    if start is not None:
        _walk(needs, start, argument.members)


def _walk(needs: Needs, start: Type, members: Iterable[str]) -> None:
    here: Type | None = _object(start)
    for name in members:
        if not isinstance(here, Composite):
            return
        if here.name:
            needs.types.setdefault(f"{here.kind} {here.name}", set()).add(name)
        found = here.find(name)
        here = None if found is None else _object(found.type)


def _object(type: Type) -> Type:
    """What is behind pointers and in arrays."""
    here = type.stripped
    for _ in range(8):
        if isinstance(here, Pointer):
            here = here.target.stripped
        elif isinstance(here, Array):
            here = here.element.stripped
    return here


def _relocated(needs: Needs, obj: BpfObject, btf: Btf) -> None:
    """Note the members that a compiled object's relocations name."""
    try:
        found = relocate(obj, btf)
    except KprobesimError as error:
        needs.notes.append(str(error))
        return
    for each in found.relocations:
        root, *members = each.path.replace("[", ".[").split(".")
        names = [member for member in members if not member.startswith("[")]
        word, _, name = root.rpartition(" ")
        for type in btf.named(name.partition("___")[0], Composite):
            if word in ("", type.kind):
                needs.types.setdefault(f"{type.kind} {type.name}", set())
                _walk(needs, type, names)
                break
