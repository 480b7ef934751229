"""What a program does with its values at a hit: count, add up, sort into a histogram, record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from keyword import iskeyword
from typing import Any, Literal, get_args
from unicodedata import normalize

from kprobesim.errors import UsageError
from kprobesim.programs.types import Str
from kprobesim.programs.values import TextConst, Value, as_value
from kprobesim.sizes import MAX_KEYS

__all__ = [
    "Action",
    "Count",
    "Full",
    "Histogram",
    "Keyed",
    "Linear",
    "Log2",
    "Maximum",
    "Minimum",
    "Record",
    "Sum",
]

Full = Literal["drain", "drop"]
"""What happens when a ring is full: Python takes the records out, so that none is lost; or the new
ones are dropped, and counted."""

_KEY_WORDS = 32
_MOST_KEYS = 1 << 26
_FIELDS = 64
_SLOTS = 4096
_RING_BYTES = 1 << 30


def _key(key: Any) -> tuple[Value, ...]:
    """A key as a tuple of values; raises :class:`UsageError` if it is too long, or a text."""
    values = tuple(as_value(v, "a key") for v in (key if isinstance(key, tuple) else (key,)))
    for value in values:
        if isinstance(value, TextConst):
            raise UsageError(
                f"the key {value} is the same at each hit: give a value, such as comm or "
                "arg(0).string, without quotes"
            )
    words = sum(v.type.size // 8 if isinstance(v.type, Str) else 1 for v in values)
    if words > _KEY_WORDS:
        raise UsageError(
            f"the key ({', '.join(map(str, values))}) takes {8 * words} bytes, and at most "
            f"{8 * _KEY_WORDS} are compared at a hit: leave some out, or shorten strings by upto()"
        )
    return values


def _number(value: Any, what: str) -> Value:
    """A value that is an integer; raises :class:`UsageError`."""
    found = as_value(value, what)
    if isinstance(found.type, Str):
        raise UsageError(f"{found} is a string, and {what} is a number: give one, or use it as key")
    return found


@dataclass(frozen=True, eq=False)
class Action:
    """Something that is done at each hit; its heirs say what."""

    @property
    def values(self) -> Iterator[Value]:
        """The values that are computed for it."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal where the same code does it."""
        own = (
            getattr(self, item.name) for item in fields(self) if item.metadata.get("shape", True)
        )
        return type(self).__name__, *(_shape(thing) for thing in own)


def _shape(thing: Any) -> Any:
    if isinstance(thing, tuple):
        return tuple(map(_shape, thing))
    return thing.shape if isinstance(thing, Value) else thing


class Keyed(Action):
    """An action that keeps something for each ``key``, or once if that is empty.

    Attributes:
        key: A value or a tuple of them; given as a tuple afterwards.
        max_keys: How many keys there may be; a hit with one more ends the run with an error.
    """

    key: Any
    max_keys: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _key(self.key))
        if not isinstance(self.max_keys, int) or not 1 <= self.max_keys <= _MOST_KEYS:
            raise UsageError(f"max_keys {self.max_keys!r}: give 1 to {_MOST_KEYS}")

    @property
    def values(self) -> Iterator[Value]:
        return iter(self.key)


def _max_keys() -> Any:
    return field(default=MAX_KEYS, kw_only=True, metadata={"shape": False})


@dataclass(frozen=True, eq=False)
class Count(Keyed):
    """Count the hits."""

    key: Any = ()
    max_keys: int = _max_keys()


@dataclass(frozen=True, eq=False)
class _OfValue(Keyed):
    """An action on a number."""

    value: Any
    key: Any = ()
    max_keys: int = _max_keys()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value", _number(self.value, "what is added up or compared"))

    @property
    def values(self) -> Iterator[Value]:
        yield from self.key
        yield self.value


class Sum(_OfValue):
    """Add up a number (modulo 2**64), and count the hits."""


class Minimum(_OfValue):
    """Keep the least of a number, and count the hits."""


class Maximum(_OfValue):
    """Keep the greatest of a number, and count the hits."""


@dataclass(frozen=True)
class Log2:
    """Slots by powers of two: 0, 1, 2 to 3, 4 to 7 ... and one for all negative numbers."""

    @property
    def slots(self) -> int:
        """How many there are."""
        return 66

    def slot(self, value: int) -> int:
        """That of ``value``."""
        return self.slots - 1 if value < 0 else value.bit_length()

    def bounds(self, slot: int) -> tuple[int | None, int | None]:
        """The least and the greatest number in a slot; ``None``: there is no such."""
        if slot == self.slots - 1:
            return None, -1
        return (1 << slot) // 2, (1 << slot) - 1


@dataclass(frozen=True)
class Linear:
    """Slots of ``step`` from ``low`` up to ``high``, and one each for what is below and above."""

    low: int
    high: int
    step: int

    def __post_init__(self) -> None:
        numbers = self.low, self.high, self.step
        if not all(isinstance(n, int) and -(1 << 62) <= n < 1 << 62 for n in numbers):
            raise UsageError(f"linear {numbers!r}: give three integers (low, high, step)")
        if self.step < 1 or self.high <= self.low or (self.high - self.low) % self.step:
            raise UsageError(f"linear {numbers}: low to high must be a number of steps above 0")
        if self.slots > _SLOTS:
            raise UsageError(f"linear {numbers}: that is more than {_SLOTS - 2} steps")

    @property
    def slots(self) -> int:
        """How many there are."""
        return (self.high - self.low) // self.step + 2

    def slot(self, value: int) -> int:
        """That of ``value``: the first for what is below, the last for what is above."""
        if value < self.low:
            return 0
        return self.slots - 1 if value >= self.high else (value - self.low) // self.step + 1

    def bounds(self, slot: int) -> tuple[int | None, int | None]:
        """The least and the greatest number in a slot; ``None``: there is no such."""
        low = self.low + (slot - 1) * self.step
        least = None if slot == 0 else low
        return least, None if slot == self.slots - 1 else low + self.step - 1


@dataclass(frozen=True, eq=False)
class Histogram(_OfValue):
    """Count the hits by how large a number is: by powers of two, or in equal steps."""

    scale: Log2 | Linear = field(default=Log2(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.scale, (Log2, Linear)):
            raise UsageError(f"scale {self.scale!r}: give Log2() or Linear(low, high, step)")


@dataclass(frozen=True, eq=False)
class Record(Action):
    """Append a record to a ring.

    Attributes:
        fields: The values of a record, by name.
        capacity: How many records the ring has room for.
        full: What happens when it is full.
        name: What the records are called.
    """

    fields: Any
    capacity: int = field(default=1 << 14, kw_only=True, metadata={"shape": False})
    full: Full = field(default="drain", kw_only=True, metadata={"shape": False})
    name: str = field(default="record", kw_only=True, metadata={"shape": False})

    def __post_init__(self) -> None:
        if not isinstance(self.fields, Mapping):
            raise UsageError(f"fields {self.fields!r}: give values by their names, as a dict")
        found = {name: as_value(value, "a field") for name, value in self.fields.items()}
        if not found or len(found) > _FIELDS:
            raise UsageError(f"a record of {len(found)} fields: give 1 to {_FIELDS} values by name")
        for name, value in found.items():
            _check_name(name, "a field's name")
            if isinstance(value, TextConst):
                raise UsageError(f"field {name} is always {value}: leave it out")
        object.__setattr__(self, "fields", tuple(found.items()))
        _check_name(self.name, "a record's name")
        if self.full not in get_args(Full):
            raise UsageError(f"full is {' or '.join(get_args(Full))}, not {self.full!r}")
        if not isinstance(self.capacity, int) or self.capacity < 1:
            raise UsageError(f"capacity {self.capacity!r}: give how many records, 1 or more")
        size = 8 + sum(v.type.size for v in found.values())
        if self.capacity * size > _RING_BYTES:
            raise UsageError(
                f"a ring of {self.capacity} records of some {size} bytes takes more than 1 GiB: "
                "give a smaller capacity; a full ring is drained without losing a record"
            )

    @property
    def values(self) -> Iterator[Value]:
        return (value for _, value in self.fields)

    @property
    def shape(self) -> tuple[Any, ...]:
        return type(self).__name__, tuple((str(v.type), v.shape) for v in self.values)


def _check_name(name: object, what: str) -> None:
    """Whether ``namedtuple()`` takes it; raises :class:`UsageError`."""
    good = isinstance(name, str) and name.isidentifier() and not name.startswith("_")
    if not good or iskeyword(str(name)) or normalize("NFKC", str(name)) != name:
        raise UsageError(f"{name!r} cannot be {what}: give a name as Python's variables have it")
