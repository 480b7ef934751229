"""What compiled programs read of an event by fixed offsets, against the event's own fields.

A program of ``SEC("tracepoint/sched/sched_switch")`` gets the record as the ring buffer has it.
``perf_event_attach_bpf_prog()`` of kernel/trace/bpf_trace.c lets none attach that reads behind the
last field (-EACCES); that fields have moved nobody notices.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from kprobesim.bpf.flow.reach import ContextRead
from kprobesim.bpf.load import LoadedObject, LoadedProgram
from kprobesim.compat.event_fields import EventField, event_layout
from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.sources.wanted import Wanted
from kprobesim.types.model import Composite, Function, Pointer

__all__ = ["misread_fields"]


class _Meant(NamedTuple):
    """A member of the program's own struct."""

    name: str
    start: int


def misread_fields(
    asked: KernelFacts, wanted: Wanted, loaded: LoadedObject, program: LoadedProgram
) -> Iterator[Finding]:
    """What the program takes for a field that is somewhere else, or behind the record."""
    layout = event_layout(asked, wanted.target)
    if not layout:
        return
    end = max(field.end for field in layout)
    fields = {field.name: field for field in layout}
    own = _own_struct(loaded, program)
    told: set[str] = set()
    reads = program.reached.reads.values()
    for read in sorted(reads, key=lambda one: (one.offset, one.size)):
        if loaded.is_relocated(read.place):
            continue
        found = _behind(wanted, read, end) or _moved(wanted, read, own, fields)
        if found is not None and found.message not in told:
            told.add(found.message)
            yield found


def _behind(wanted: Wanted, read: ContextRead, end: int) -> Finding | None:
    if read.offset + read.size <= end:
        return None
    return Finding(
        Kind.ARGUMENT,
        f"it reads {read.size} bytes at {read.offset}{_where(read)}, and the record of "
        f"{wanted.target} has {end} here: perf attaches no program that reads behind it",
        errno.EACCES,
        instead=("the kernel's own struct, read by CO-RE", f"tp_btf/{_name(wanted)}"),
        found_by="btf",
    )


def _moved(
    wanted: Wanted, read: ContextRead, own: list[_Meant], fields: dict[str, EventField]
) -> Finding | None:
    meant = next((one for one in reversed(own) if one.start <= read.offset), None)
    theirs = fields.get(meant.name) if meant is not None else None
    if meant is None or theirs is None or theirs.start == meant.start:
        return None
    return Finding(
        Kind.ARGUMENT,
        f"{meant.name} is at {theirs.start} in the record of {wanted.target} here, and it is read "
        f"at {meant.start}{_where(read)}",
        instead=("the kernel's own struct, read by CO-RE", f"tp_btf/{_name(wanted)}"),
        found_by="btf",
    )


def _name(wanted: Wanted) -> str:
    return wanted.target.rpartition(":")[2]


def _where(read: ContextRead) -> str:
    function, index = read.place
    line = function.source_line(index)
    return f" ({line})" if line else ""


def _own_struct(loaded: LoadedObject, program: LoadedProgram) -> list[_Meant]:
    """The members of what the program's only parameter points to, in order."""
    btf = loaded.object.btf
    for function in () if btf is None else btf.named(program.program.name, Function):
        for parameter in function.parameters[:1]:
            pointer = parameter.type.stripped
            held = pointer.target.stripped if isinstance(pointer, Pointer) else None
            if isinstance(held, Composite):
                return [_Meant(one.name, one.offset) for one in held.flat() if one.name]
    return []
