"""``KprobeEvents``: the list of events that ``kprobe_events`` defines, and how writing changes it.

kernel/trace/trace_kprobe.c and trace_dynevent.c (5.10 to 7.3). What is written here is text as in
the file; who plants the probes is a :class:`Registrar`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from kprobesim.dynevent.alike import check_alike
from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.facts import KernelFacts
from kprobesim.dynevent.grammar.c_text import as_bytes, split_words
from kprobesim.dynevent.grammar.command import Command
from kprobesim.dynevent.parse import parse_definition, parse_old_or_new
from kprobesim.dynevent.resolve import resolve_symbols
from kprobesim.errors import KprobeError
from kprobesim.hexrepr import HexRepr
from kprobesim.trace.command_lines import command_lines
from kprobesim.trace.dyn_event import next_place
from kprobesim.trace.error_log import ErrorLog

__all__ = ["EventProbe", "KprobeEvents", "ProbeEvent", "Registrar", "Target"]


@dataclass(eq=False, repr=False)
class EventProbe(HexRepr):
    """One probe of an event.

    Attributes:
        definition: What was written.
        resolved: The same with addresses for the symbols of its arguments.
        maxactive: Calls that a return probe follows at a time; 0 while it is not planted.
        address: Where it is; ``None`` while it waits for its module.
        planted: What the registrar made of it, also while it waits; ``None``: nothing yet.
        place: Its place among all dynamic events.
    """

    definition: ProbeDefinition
    resolved: ProbeDefinition
    maxactive: int = 0
    address: int | None = None
    planted: object = None
    place: int = field(default_factory=next_place)


@dataclass(eq=False)
class ProbeEvent:
    """One event: a name, and probes that are alike."""

    group: str
    name: str
    probes: list[EventProbe] = field(default_factory=list)

    @property
    def first(self) -> ProbeDefinition:
        """The definition that the others must be like."""
        return self.probes[0].definition


@dataclass(frozen=True)
class Target:
    """What a command deletes.

    Attributes:
        command: The command.
        group: The group; ``None``: in any.
        name: The event; empty: all of the group.
    """

    command: Command
    group: str | None
    name: str


class Registrar(Protocol):
    """Makes events and plants their probes."""

    def has_event(self, group: str, name: str) -> bool:
        """Whether a trace event of that name is there that is none of ``kprobe_events``."""

    def add_event(self, event: ProbeEvent) -> None:
        """A new event is there; its probes follow."""

    def remove_event(self, event: ProbeEvent) -> None:
        """An event has lost its last probe."""

    def is_enabled(self, event: ProbeEvent) -> bool:
        """Whether somebody has enabled it, or holds on to it."""

    def check(self, probe: EventProbe) -> None:
        """What is asked before the symbols of arguments are looked up.

        Raises:
            KprobeError: ftrace cannot trace the function.
        """

    def plant(self, event: ProbeEvent, probe: EventProbe) -> None:
        """Plant it, armed if the event is enabled, and set ``maxactive``, ``address``, ``planted``.

        Raises:
            KprobeError: There may be no probe.
        """

    def wait(self, event: ProbeEvent, probe: EventProbe) -> None:
        """There is nothing to plant it in yet: its event is there without it."""

    def unplant(self, probe: EventProbe) -> None:
        """Its module has gone, or comes anew: it waits from now on."""

    def pull(self, probe: EventProbe) -> None:
        """Take one out that is planted, or waits."""


class KprobeEvents:
    """The events of a ``kernel``; refusals go to ``log``."""

    def __init__(self, kernel: KernelFacts, registrar: Registrar, log: ErrorLog) -> None:
        self._kernel = kernel
        self._registrar = registrar
        self._log = log
        self._events: dict[tuple[str, str], ProbeEvent] = {}
        self._order: dict[EventProbe, ProbeEvent] = {}  # as they were defined

    def __iter__(self) -> Iterator[ProbeEvent]:
        return iter(list(self._events.values()))

    def __len__(self) -> int:
        return len(self._events)

    def get(self, group: str, name: str) -> ProbeEvent | None:
        """The event of that name, if there is one."""
        return self._events.get((group, name))

    def probes(self) -> Iterator[tuple[ProbeEvent, EventProbe]]:
        """Each probe with its event, in the order in which they were defined."""
        return iter([(event, probe) for probe, event in self._order.items()])

    @property
    def newest(self) -> tuple[ProbeEvent, EventProbe]:
        """The probe that was defined last, with its event; there must be one."""
        probe, event = next(reversed(self._order.items()))
        return event, probe

    # -- the file ----------------------------------------------------------------------------------

    def read(self) -> str:
        """The file's text: one line a probe."""
        return "".join(self.line(event, probe) for event, probe in self.probes())

    def truncate(self) -> None:
        """The file is opened as ``>`` does it: all events go, or none if one is enabled.

        Raises:
            ProbeEventError: EBUSY.
        """
        self.check_idle()
        for event, probe in self.probes():
            self.remove(event, probe)

    def check_idle(self) -> None:
        """Nothing is enabled; raises :class:`ProbeEventError` (EBUSY) if one is."""
        if any(self._registrar.is_enabled(event) for event in self):
            raise ProbeEventError(errno.EBUSY, "")

    def reorder(self) -> None:
        """Their places have changed: list them in the order of those."""
        self._order = dict(sorted(self._order.items(), key=lambda pair: pair[0].place))

    def write(self, text: str) -> None:
        """Each line is a command; the first that is refused ends it, those before it count.

        Raises:
            ProbeEventError: One is refused, with the errno of the write.
        """
        for line in command_lines(text):
            self.command(line)

    def command(self, line: str, *, newest: bool = False) -> None:
        """One command: a definition, or ``-:GROUP/EVENT`` to delete.

        Args:
            line: The command.
            newest: Take what the newest kernels take, as well as what this one does.

        Raises:
            ProbeEventError: It is refused; ``__cause__`` is what the rules for probes say.
        """
        words = split_words(as_bytes(line))
        if not words:
            return
        if self.deletes(line, words):
            self.delete(words)
            return
        try:
            self._create(line, newest=newest)
        except ProbeEventError as error:
            self._log.add(error)
            raise

    def deletes(self, line: str, words: tuple[str, ...], marks: tuple[str, ...] = ("-",)) -> bool:
        """Whether a command of these ``words`` is to delete: it begins with one of ``marks``."""
        return (words[0] if self._kernel.dialect.delete_anywhere else line).startswith(marks)

    # -- deleting ----------------------------------------------------------------------------------

    def delete(self, words: tuple[str, ...]) -> None:
        """``-:[GROUP/]EVENT [PLACE [ARGUMENT...]]``: dyn_event_release().

        Raises:
            ProbeEventError: Nothing is of that name, or it is enabled.
        """
        target = self.target(words)
        if not self.release(target):
            raise Command(words, self._kernel.dialect).silent(errno.ENOENT)

    def target(self, words: tuple[str, ...]) -> Target:
        """What a command of these ``words`` is to delete.

        Raises:
            ProbeEventError: It names nothing.
        """
        command = Command(words, self._kernel.dialect)
        head, colon, name = words[0].partition(":")
        if not colon or (head.startswith("-") and head != "-"):
            raise command.silent()
        group, slash, event_name = name.partition("/")
        if not slash:
            group, event_name = "", name
        alone = bool(slash) and self._kernel.dialect.delete_group
        if not event_name and not alone:
            raise command.silent()
        return Target(command, group if slash else None, event_name)

    def release(self, target: Target) -> bool:
        """Delete what is meant; whether there was any.

        Raises:
            ProbeEventError: One is enabled (EBUSY).
        """
        found = False
        for event, probe in self.probes():
            if target.name and target.name != as_bytes(event.name):
                continue
            if target.group not in (None, as_bytes(event.group)):
                continue
            if not self._matches(event, probe, target.command.words[1:]):
                continue
            if len(event.probes) == 1 and self._registrar.is_enabled(event):
                raise target.command.silent(errno.EBUSY)
            self.remove(event, probe)
            found = True
        return found

    def _matches(self, event: ProbeEvent, probe: EventProbe, words: tuple[str, ...]) -> bool:
        if not words:
            return True
        shown = [as_bytes(self._place(probe)), *map(as_bytes, map(str, probe.definition.arguments))]
        return len(words) <= len(shown) and list(words) == shown[: len(words)]

    def remove(self, event: ProbeEvent, probe: EventProbe) -> None:
        """Take a probe out, and its event with the last one; it must not be enabled then."""
        if probe.planted is not None:
            self._registrar.pull(probe)
            probe.planted = None
        event.probes.remove(probe)
        del self._order[probe]
        if not event.probes:
            del self._events[event.group, event.name]
            self._registrar.remove_event(event)

    # -- creating ----------------------------------------------------------------------------------

    def _create(self, line: str, *, newest: bool) -> None:
        kernel = self._kernel
        if newest:
            definition, kernel = parse_old_or_new(line, kernel)
        else:
            definition = parse_definition(line, kernel)
        words = tuple(map(as_bytes, definition.words))
        command = Command(words, kernel.dialect)
        key = definition.group, definition.event
        event = self._events.get(key)
        probe = EventProbe(definition, definition)
        if event is not None:
            others = [each.definition for each in event.probes]
            check_alike(definition, others, command)
        elif self._registrar.has_event(*key):
            raise command.refusal("EVENT_EXIST", 0, number=errno.EEXIST)
        new = event is None
        if event is None:
            event = ProbeEvent(*key)
            self._registrar.add_event(event)
        event.probes.append(probe)
        try:
            self._register(event, probe, command)
        except ProbeEventError:
            event.probes.remove(probe)
            if new:
                self._registrar.remove_event(event)
            raise
        self._events[key] = event
        self._order[probe] = event

    def _register(self, event: ProbeEvent, probe: EventProbe, command: Command) -> None:
        """__register_trace_kprobe(), and what an errno of it is told as."""
        number, cause = self._planted(event, probe)
        definition = probe.definition
        waits = definition.symbol is None or (
            definition.module is not None and not self._kernel.module_is_loaded(definition.module)
        )
        if number == errno.ENOENT and waits:
            self._registrar.wait(event, probe)
            return
        if not number:
            return
        if number in (errno.ENOMEM, errno.EEXIST):
            raise command.silent(number) from cause
        name = {errno.EILSEQ: "BAD_INSN_BNDRY", errno.ENOENT: "BAD_PROBE_ADDR"}.get(number)
        raise command.refusal(name or "FAIL_REG_PROBE", 1, number=number) from cause

    def _planted(self, event: ProbeEvent, probe: EventProbe) -> tuple[int, KprobeError | None]:
        """The errno of what is refused, and why; 0: it is planted, or waits for its module."""
        try:
            self._registrar.check(probe)
            resolved = resolve_symbols(probe.definition, self._kernel.lookup)
            if resolved.errno:
                return resolved.errno, None
            probe.resolved = resolved.definition
            module = probe.definition.module
            if module is not None and not self._kernel.module_is_loaded(module):
                return errno.ENOENT, None
            self._registrar.plant(event, probe)
        except KprobeError as error:
            return error.errno or errno.EINVAL, error
        return 0, None

    # -- modules -----------------------------------------------------------------------------------

    def module_coming(self, name: str) -> None:
        """A module is being loaded: events on its functions are planted anew.

        trace_kprobe_module_callback(). What fails then is only told on the kernel's console.
        """
        for event, probe in self.probes():
            if probe.definition.module != name:
                continue
            self._registrar.unplant(probe)
            symbol = as_bytes(f"{name}:{probe.definition.symbol}")
            if not self._kernel.symbol_errno(symbol):
                self._planted(event, probe)

    # -- showing -----------------------------------------------------------------------------------

    def line(self, event: ProbeEvent, probe: EventProbe) -> str:
        """The line of one probe."""
        kind = probe.definition.kind
        if probe.definition.returns:
            active = probe.maxactive or probe.definition.maxactive
            kind += str(active) if active else ""
        arguments = "".join(f" {argument}" for argument in probe.definition.arguments)
        return f"{kind}:{event.group}/{event.name} {self._place(probe)}{arguments}\n"

    def _place(self, probe: EventProbe) -> str:
        definition = probe.definition
        if definition.symbol is None:
            address = probe.address if probe.address is not None else definition.address or 0
            return f"0x{self._kernel.pointer_text(address)}"
        offset = f"+{definition.offset}" if definition.offset else ""
        return f"{definition.qualified}{offset}"
