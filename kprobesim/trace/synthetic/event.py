"""``SyntheticEvent``: an event that actions of hist triggers record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kprobesim.dynevent.definition import ProbeArgument, ProbeDefinition
from kprobesim.dynevent.fetch import Field
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.programs.by_python import ByPython
from kprobesim.programs.values import Value
from kprobesim.trace.dyn_event import next_place
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import EventPlanter, TraceEvent
from kprobesim.trace.event_format import COMMON_FIELDS, EventField
from kprobesim.trace.event_programs import Told
from kprobesim.trace.showing import Naming
from kprobesim.trace.synthetic.field import STRING_BYTES, SynthField

__all__ = ["GROUP", "SyntheticEvent"]

GROUP = "synthetic"
_COMMON_BYTES = 8


class SyntheticEvent(TraceEvent):
    """One synthetic event.

    Attributes:
        synth_fields: Its fields.
        users: Actions that record it, which keep it from being deleted.
        told: Does what its programs would; ``None``: nothing yet.
        place: Its place among all dynamic events.
    """

    def __init__(
        self, number: int, name: str, fields: Sequence[SynthField], planter: EventPlanter
    ) -> None:
        self.synth_fields = tuple(fields)
        self.users = 0
        self.place = next_place()
        self.told: Told | None = None
        self._values: tuple[Any, ...] = ()
        definition = ProbeDefinition(
            kind="p",
            group=GROUP,
            event=name,
            symbol=None,
            arguments=tuple(
                ProbeArgument(field.name, field.name, Field(field.name), field.fetch_type)
                for field in fields
            ),
            words=(),
        )
        super().__init__(number, definition, planter)

    @property
    def listing(self) -> str:
        """Its line in ``synthetic_events``."""
        fields = "; ".join(f"{field.shown_type} {field.name}" for field in self.synth_fields)
        return f"{self.name}\t{fields}\n"

    @property
    def fields(self) -> Sequence[EventField]:
        """The fields of its record behind the common ones."""
        fields, at = [], _COMMON_BYTES
        for field in self.synth_fields:
            fields.append(EventField(field.name, field.type, at, field.size, field.signed))
            at += 8 * field.words
        return fields

    @property
    def record_bytes(self) -> int:
        """Bytes of its record in the kernel, without what texts of any length add."""
        return _COMMON_BYTES + 8 * sum(field.words for field in self.synth_fields)

    @property
    def format(self) -> str:
        """The text of the file ``format``."""
        texts = ", ".join(f"{field.name}={field.print_format}" for field in self.synth_fields)
        values = [
            f"__get_str({field.name})" if field.is_dynamic else f"REC->{field.name}"
            for field in self.synth_fields
        ]
        lines = [f"name: {self.name}", f"ID: {self.id}", "format:", *map(str, COMMON_FIELDS), ""]
        shown = ", ".join([f'"{texts}"', *values])
        lines += [*map(str, self.fields), "", f"print fmt: {shown}"]
        return "\n".join([*lines, ""])

    def body(self, entry: TraceEntry, name: Naming) -> str:
        """What an entry says behind the columns."""
        shown = (field.show(entry.fields[field.name]) for field in self.synth_fields)
        return f"{self.name}: {' '.join(shown)}"

    def arguments(self) -> list[list[Value]]:
        """What a program reads of the values that are recorded now."""
        return [
            [ByPython((), lambda number=number: self._values[number], field.kind)]
            for number, field in enumerate(self.synth_fields)
        ]

    def record(self, values: Sequence[Any], p: Kprobe) -> None:
        """Record ``values`` of its fields, and do what its triggers say.

        Args:
            values: Numbers of 64 bits, and texts as bytes.
            p: The probe in whose hit that is.
        """
        if not self.armed or self.told is None:
            return
        before = self._values
        pairs = zip(self.synth_fields, values, strict=True)
        self._values = tuple(field.stored(value) for field, value in pairs)
        try:
            self.told(p)
        finally:
            self._values = before

    def pack(self, fields: Mapping[str, Any], start: int) -> bytes:
        """The fields as they are in a record of the kernel's, which begins ``start`` before."""
        body, texts = b"", b""
        size = self.record_bytes - _COMMON_BYTES
        for field in self.synth_fields:
            value = fields[field.name]
            if not field.is_string:
                mask = (1 << 8 * field.size) - 1
                body += (int(value) & mask).to_bytes(8, "little")
                continue
            text = str(value).encode("utf-8", "surrogateescape") + b"\0"
            if field.is_dynamic:  # struct trace_dynamic_info
                offset = start + size + len(texts)
                body += (len(text) << 16 | offset).to_bytes(8, "little")
                texts += text
            else:
                body += text.ljust(STRING_BYTES, b"\0")
        return body + texts
