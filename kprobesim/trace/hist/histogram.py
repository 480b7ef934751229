"""``Histogram``: what a hist trigger has counted (``struct tracing_map``).

Compiled code writes what each hit has to say into a stream; here it is counted, when somebody looks
and whenever the stream is full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kprobesim.programs.stores.stream import Stream
from kprobesim.sizes import MASK64
from kprobesim.trace.hist.acting import Acting
from kprobesim.trace.hist.computing import Leaves, compute
from kprobesim.trace.hist.definition import HistDefinition
from kprobesim.trace.hist.entry import Entry
from kprobesim.trace.hist.expression import stack_depth
from kprobesim.trace.hist.hist_field import HistField, HistFlag
from kprobesim.trace.hist.ordering import sort_by

__all__ = ["HistStream", "Histogram"]


class HistStream(Stream):
    """A stream that is counted whenever it is full."""

    stamped = False
    capacity = 1 << 20

    def __init__(self, keep: Callable[[BaseException], object]) -> None:
        """See :class:`Stream`."""
        self.count: Callable[[], None] = lambda: None
        super().__init__(keep)

    def _drain(self) -> None:
        super()._drain()
        try:
            self.count()
        except BaseException as error:
            self._keep(error)


class Histogram:
    """The entries of one histogram.

    Attributes:
        definition: What it counts.
        hits: Hits that were counted.
        drops: Hits for whose key there was no room.
        stream: Where programs tell of hits.
        acting: What it does beside counting; ``None``: nothing.
    """

    def __init__(
        self,
        definition: HistDefinition,
        stream: HistStream,
        stacks: Mapping[int, tuple[int, ...]],
    ) -> None:
        """Nothing is counted yet; ``stacks`` are what numbers of stacks stand for."""
        self.definition = definition
        self.stream = stream
        saved = [field for bound in definition.actions for field in bound.saved]
        variables = definition.variables + definition.wanted
        every = (*definition.keys, *definition.values, *variables, *saved)
        self.leaves = Leaves(
            every, stacks, stack_depth(definition.version), len(definition.references)
        )
        self.acting: Acting | None = None
        self.hits = self.drops = 0
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self._keys = [compute(field, self.leaves) for field in definition.keys]
        self._values = [compute(field, self.leaves) for field in definition.values]
        self._variables = [(field.variable, compute(field, self.leaves)) for field in variables]
        self._references = definition.references
        self._most = 1 << definition.attributes.bits
        self._counting = False
        stream.count = self.pull

    def pull(self) -> None:
        """Count what has come since the last time."""
        if self._counting:
            return
        self._counting = True
        try:
            for number, data, at, *_ in self.stream.take():
                self._count(self.stream.layout(number).unpack(data, at))
        finally:
            self._counting = False

    @property
    def is_immediate(self) -> bool:
        """Whether each hit is counted at once: others' variables are read, or something is done."""
        return bool(self._references or self.acting)

    def _count(self, leaves: Sequence[Any]) -> None:
        key = tuple(make(leaves) for make in self._keys)
        references: list[Any] = [0] * len(self._references)
        if references:
            if not self._resolve(key, references):
                return
            leaves = [*leaves, *references]
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) == self._most:
                self.drops += 1
                return
            comm = self.leaves.comm(leaves)
            entry = Entry(key, [0] * (1 + len(self._values)), comm)
            self._entries[key] = entry
        self.hits += 1
        sums = entry.sums
        sums[0] += 1
        for number, make in enumerate(self._values, 1):
            value = make(leaves)
            if isinstance(value, int):
                sums[number] = sums[number] + value & MASK64
        for name, make in self._variables:
            entry.variables[name] = make(leaves)
        if self.acting is not None and self._resolve_own(entry, references):
            self.acting.act(entry, leaves, references)

    def _resolve(self, key: tuple[Any, ...], references: list[Any]) -> bool:
        """Read the variables of others for the same key; whether all are set."""
        for number, reference in enumerate(self._references):
            histogram = reference.variable.histogram
            if histogram is None:
                continue
            histogram.pull()
            entry = histogram._entries.get(key)
            if entry is None or reference.variable.name not in entry.variables:
                return False
            references[number] = entry.variables[reference.variable.name]
            if reference.once:
                del entry.variables[reference.variable.name]
        return True

    def _resolve_own(self, entry: Entry, references: list[Any]) -> bool:
        """Read the own variables; whether all are set."""
        for number, reference in enumerate(self._references):
            if reference.of_itself:
                if reference.variable.name not in entry.variables:
                    return False
                references[number] = entry.variables[reference.variable.name]
        return True

    def clear(self) -> None:
        """Forget all that was counted."""
        self.pull()
        self._entries.clear()
        self.hits = self.drops = 0

    @property
    def entries(self) -> list[Entry]:
        """The entries, in the order of their first hits."""
        self.pull()
        return list(self._entries.values())

    def take_over(self, entries: Sequence[Entry], *, hits: int, drops: int) -> None:
        """Go on with what was counted elsewhere."""
        self.clear()
        self._entries.update((entry.key, entry) for entry in entries)
        self.hits, self.drops = hits, drops

    def sorted(self) -> list[Entry]:
        """The entries in the order in which they are shown."""
        entries = self.entries
        compares = [self._compare(s.index, s.descending) for s in self.definition.sorts]
        doubles = {id(entry): self._bytes(entry) for entry in entries}
        sort_by(
            entries,
            compares,
            lambda one, other: _order(doubles[id(one)], doubles[id(other)]),
            self.definition.version,
        )
        return entries

    def _compare(self, index: int, descending: bool) -> Callable[[Entry, Entry], int]:
        """What a sort key compares."""
        sign, values = -1 if descending else 1, len(self.definition.values)
        if index <= values:
            return lambda one, other: sign * _order(one.sums[index], other.sums[index])
        number = index - values - 1
        field = self.definition.keys[number]
        if field.has(HistFlag.STACKTRACE):
            return lambda one, other: 0
        part = _part(field)
        return lambda one, other: sign * _order(part(one.key[number]), part(other.key[number]))

    def _bytes(self, entry: Entry) -> bytes:
        """The key as the kernel keeps it."""
        return b"".join(
            _key_bytes(part, field)
            for part, field in zip(entry.key, self.definition.keys, strict=True)
        )


def _order(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def _part(field: HistField) -> Callable[[Any], Any]:
    """What of a key is compared: as many bytes as the event's field has, and with its sign."""
    if field.has(HistFlag.STRING):
        return lambda text: text
    size = 8 if field.field is None or field.has(HistFlag.CPU) else field.field.size
    signed = field.signed if field.field is None else field.field.signed

    def low(number: int) -> int:
        return int.from_bytes(
            (number & MASK64).to_bytes(8, "little")[:size], "little", signed=signed
        )

    return low


def _key_bytes(part: Any, field: HistField) -> bytes:
    if isinstance(part, bytes):
        return part.ljust(field.size, b"\0")
    if isinstance(part, tuple):
        return b"".join(address.to_bytes(8, "little") for address in part).ljust(field.size, b"\0")
    return int(part).to_bytes(8, "little")
