"""The events of the group ``ftrace``: what tracers write, and no probe.

kernel/trace/trace_entries.h, 5.10 to 7.3, as the guests' own ``events/ftrace/*/format`` show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.trace.event_format import COMMON_FIELDS, EventField

__all__ = ["FtraceEvent", "char_is_signed", "ftrace_events"]


@dataclass(frozen=True)
class FtraceEvent:
    """One of them.

    Attributes:
        name: Its name.
        id: The number of its type.
        fields: Those of its record behind the common ones.
        print_format: What ``format`` says of how it is shown.
    """

    name: str
    id: int
    fields: tuple[EventField, ...]
    print_format: str

    @cached_property
    def format(self) -> str:
        """The text of its file ``format``."""
        lines = [f"name: {self.name}", f"ID: {self.id}", "format:", *map(str, COMMON_FIELDS), ""]
        return "\n".join([*lines, *map(str, self.fields), "", f"print fmt: {self.print_format}\n"])


_ADDRESS, _TIME = "unsigned long", "unsigned long long"
_FRAMES = 8  # FTRACE_STACK_ENTRIES, as the format tells
_ARGUMENTS = 6, 15  # of functions, behind a record of fixed size
_CHAR_IS_SIGNED = halves(x86_64=True, arm64=False)
_UNSIGNED_CHAR = 6, 2
_EXIT = '"<-- %ps ({0}) (start: %llx  end: %llx) over: {0}", ' + ", ".join(
    ("(void *)REC->func", *(f"REC->{name}" for name in ("depth", "calltime", "rettime", "depth")))
)


def ftrace_events(image: KernelImage) -> dict[str, FtraceEvent]:
    """Those that are written here, as a kernel has them, by name."""
    newer = image.version >= _ARGUMENTS
    arguments = (EventField("args", f"{_ADDRESS}[]", 24, 0),) if newer else ()
    depth = ("unsigned long", 8, False) if newer else ("int", 4, True)
    events = (
        _event(
            "function",
            1,
            '" %ps <-- %ps", (void *)REC->ip, (void *)REC->parent_ip',
            (EventField("ip", _ADDRESS, 8, 8), EventField("parent_ip", _ADDRESS, 16, 8)),
            arguments,
        ),
        _event(
            "kernel_stack",
            4,
            r'"\t=> %ps\n\t=> %ps\n\t=> %ps\n" "\t=> %ps\n\t=> %ps\n\t=> %ps\n" '
            r'"\t=> %ps\n\t=> %ps\n", '
            + ", ".join(f"(void *)REC->caller[{n}]" for n in range(_FRAMES)),
            (EventField("size", "int", 8, 4, signed=True),),
            (EventField("caller", f"{_ADDRESS}[{_FRAMES}]", 16, 8 * _FRAMES),),
        ),
        _event(
            "print",
            5,
            '"%ps: %s", (void *)REC->ip, REC->buf',
            (EventField("ip", _ADDRESS, 8, 8),),
            (EventField("buf", "char[]", 16, 0, signed=char_is_signed(image)),),
        ),
        _event("funcgraph_exit", 10, _EXIT.format("%u" if newer else "%d"), _exit_fields(image)),
        _event(
            "funcgraph_entry",
            11,
            f'"--> %ps ({"%lu" if newer else "%d"})", (void *)REC->func, REC->depth',
            (EventField("func", _ADDRESS, 8, 8), EventField("depth", depth[0], 16, *depth[1:])),
            arguments,
        ),
    )
    return {event.name: event for event in events}


def char_is_signed(image: KernelImage) -> bool:
    """Whether ``char`` is; kernels are compiled with -funsigned-char since 6.2."""
    return _CHAR_IS_SIGNED[image.arch] and image.version < _UNSIGNED_CHAR


def _event(name: str, id: int, shown: str, *fields: tuple[EventField, ...]) -> FtraceEvent:
    return FtraceEvent(name, id, tuple(chain(*fields)), shown)


def _exit_fields(image: KernelImage) -> tuple[EventField, ...]:
    """Those of funcgraph_exit: the depth has moved to the front of ``struct ftrace_graph_ret``."""
    newer = image.version >= _ARGUMENTS
    btf = image.btf
    at = None if btf is None else btf.offset("ftrace_graph_ret", "depth")
    first = EventField("func", _ADDRESS, 8, 8)
    times = ("calltime", "rettime")
    if at is not None and at > 8:
        return (
            first,
            EventField("overrun", _ADDRESS, 16, 8),
            *(EventField(name, _TIME, 24 + 8 * n, 8) for n, name in enumerate(times)),
            EventField("depth", "int", 40, 4, signed=True),
        )
    return (
        first,
        EventField("depth", "unsigned int" if newer else "int", 16, 4, signed=not newer),
        EventField("overrun", "unsigned int", 20, 4),
        *(EventField(name, _TIME, 24 + 8 * n, 8) for n, name in enumerate(times)),
    )
