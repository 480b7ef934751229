"""The state of a board's parts as plain data: numbers, bytes, lists and dicts.

A part names in ``SAVED`` the attributes that make up its state and what each of them is. What is
loaded is checked in full before anything changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from kprobesim.errors import UsageError
from kprobesim.late_dataclasses import dataclass

__all__ = [
    "Below",
    "Block",
    "Flag",
    "Flags",
    "Kind",
    "Maybe",
    "Number",
    "Numbers",
    "Parts",
    "Put",
    "Saved",
    "Table",
    "Text",
    "Tuple",
    "Tuples",
    "fields",
    "parse_fields",
    "record",
    "save_fields",
    "wrong_state",
]

_PLAIN_BITS = 63  # what every format can hold; a longer number becomes bytes

Put: TypeAlias = Callable[[], None]
"""Puts a state that was checked in force."""


class Kind:
    """How a value is saved and loaded; this one takes it as it is."""

    def plain(self, value: Any) -> Any:
        """``value`` as plain data."""
        return value

    def parse(self, plain: Any, where: str) -> Any:
        """The value that ``plain`` stands for; raises :class:`UsageError`."""
        raise NotImplementedError

    def put(self, owner: object, name: str, value: Any) -> None:
        """Let attribute ``name`` of ``owner`` be ``value``, which :meth:`parse` gave.

        May be done many times: nothing that can change is handed out.
        """
        setattr(owner, name, value)


@dataclass(frozen=True)
class Number(Kind):
    """An integer from ``low`` to 2 ** ``bits`` - 1; bytes if it may be too long for a format."""

    bits: int = 32
    low: int = 0

    def plain(self, value: Any) -> Any:
        return value if self.bits <= _PLAIN_BITS else value.to_bytes(-(-self.bits // 8), "little")

    def parse(self, plain: Any, where: str) -> int:
        bits = self.bits
        if bits > _PLAIN_BITS:
            if type(plain) is bytes and len(plain) == -(-bits // 8):
                plain = int.from_bytes(plain, "little")
            else:
                bits = _PLAIN_BITS
        if type(plain) is not int or not self.low <= plain < 1 << bits:
            raise wrong_state(f"{where} is no number of {self.bits} bits")
        return plain


@dataclass(frozen=True)
class Below(Kind):
    """An integer from 0 on, less than ``limit``."""

    limit: int

    def parse(self, plain: Any, where: str) -> int:
        if type(plain) is not int or not 0 <= plain < self.limit:
            raise wrong_state(f"{where} is no number below {self.limit}")
        return plain


class Flag(Kind):
    """True or false."""

    def parse(self, plain: Any, where: str) -> bool:
        if type(plain) is not bool:
            raise wrong_state(f"{where} is neither true nor false")
        return plain


@dataclass(frozen=True)
class Flags(Kind):
    """A list of ``count`` that are true or false, whose owner keeps the very list."""

    count: int

    def parse(self, plain: Any, where: str) -> list[bool]:
        if type(plain) is not list or len(plain) != self.count:
            raise wrong_state(f"{where} is no list of {self.count}")
        return [Flag().parse(item, where) for item in plain]

    def put(self, owner: object, name: str, value: list[bool]) -> None:
        getattr(owner, name)[:] = value


@dataclass(frozen=True)
class Text(Kind):
    """A text of at most ``most`` bytes in UTF-8."""

    most: int

    def parse(self, plain: Any, where: str) -> str:
        if type(plain) is not str or len(plain.encode("utf-8", "replace")) > self.most:
            raise wrong_state(f"{where} is no text of at most {self.most} bytes")
        return plain


@dataclass(frozen=True)
class Maybe(Kind):
    """``None``, or what ``kind`` is."""

    kind: Kind

    def plain(self, value: Any) -> Any:
        return None if value is None else self.kind.plain(value)

    def parse(self, plain: Any, where: str) -> Any:
        return None if plain is None else self.kind.parse(plain, where)


@dataclass(frozen=True)
class Block(Kind):
    """A ``bytearray`` or a ``deque`` of bytes: ``size`` of them, any number by default."""

    size: int | None = None

    def plain(self, value: Any) -> bytes:
        return bytes(value)

    def parse(self, plain: Any, where: str) -> bytes:
        if type(plain) is not bytes or self.size not in (None, len(plain)):
            raise wrong_state(f"{where} is no bytes object of the right length")
        return plain

    def put(self, owner: object, name: str, value: bytes) -> None:
        old = getattr(owner, name)
        if isinstance(old, deque):
            old.clear()
            old.extend(value)
        else:
            old[:] = value


@dataclass(frozen=True)
class Numbers(Kind):
    """A list of ``count`` numbers of ``bits`` bits, whose owner keeps the very list."""

    count: int
    bits: int = 32

    def plain(self, value: Any) -> list[Any]:
        kind = Number(self.bits)
        return [kind.plain(number) for number in value]

    def parse(self, plain: Any, where: str) -> list[int]:
        if type(plain) is not list or len(plain) != self.count:
            raise wrong_state(f"{where} is no list of {self.count} numbers")
        kind = Number(self.bits)
        return [kind.parse(number, where) for number in plain]

    def put(self, owner: object, name: str, value: list[int]) -> None:
        getattr(owner, name)[:] = value


@dataclass(frozen=True)
class Table(Kind):
    """A dict from ``keys`` to numbers of ``bits`` bits; its values are saved, in order."""

    keys: tuple[int, ...]
    bits: int = 32

    def plain(self, value: Any) -> list[Any]:
        return Numbers(len(self.keys), self.bits).plain(value[key] for key in self.keys)

    def parse(self, plain: Any, where: str) -> dict[int, int]:
        values = Numbers(len(self.keys), self.bits).parse(plain, where)
        return dict(zip(self.keys, values, strict=True))

    def put(self, owner: object, name: str, value: dict[int, int]) -> None:
        getattr(owner, name).update(value)


@dataclass(frozen=True)
class Tuple(Kind):
    """A tuple of numbers of so many ``bits`` each."""

    bits: tuple[int, ...]

    def plain(self, value: Any) -> list[Any]:
        return [Number(bits).plain(n) for n, bits in zip(value, self.bits, strict=True)]

    def parse(self, plain: Any, where: str) -> tuple[int, ...]:
        if type(plain) is not list or len(plain) != len(self.bits):
            raise wrong_state(f"{where} is no list of {len(self.bits)} numbers")
        return tuple(Number(bits).parse(n, where) for n, bits in zip(plain, self.bits, strict=True))


@dataclass(frozen=True)
class Tuples(Kind):
    """A list of at most ``most`` tuples of numbers of so many ``bits`` each."""

    most: int
    bits: tuple[int, ...]

    def plain(self, value: Any) -> list[list[Any]]:
        return [Tuple(self.bits).plain(item) for item in value]

    def parse(self, plain: Any, where: str) -> list[tuple[int, ...]]:
        if type(plain) is not list or len(plain) > self.most:
            raise wrong_state(f"{where} is no list of at most {self.most}")
        return [Tuple(self.bits).parse(item, where) for item in plain]

    def put(self, owner: object, name: str, value: list[tuple[int, ...]]) -> None:
        getattr(owner, name)[:] = value


def fields(**kinds: Kind) -> Mapping[str, Kind]:
    """What the attributes of these names are, for :attr:`Saved.SAVED`."""
    return MappingProxyType(kinds)


class Saved:
    """A part with a state; ``SAVED`` describes it."""

    SAVED: ClassVar[Mapping[str, Kind]] = MappingProxyType({})

    def save(self) -> dict[str, Any]:
        """The state as plain data."""
        return save_fields(self, self.SAVED)

    def load(self, state: object) -> None:
        """Take over what :meth:`save` gave; raises :class:`UsageError`, and nothing has changed.

        No other part is told: the lines between them are part of the state.
        """
        self.parse(state, type(self).__name__.lstrip("_"))()

    def parse(self, state: object, where: str) -> Put:
        """Check ``state``, called ``where`` in the error; what is returned puts it in force."""
        return parse_fields(self, self.SAVED, state, where)


@dataclass(frozen=True)
class Parts(Kind):
    """One part, or a tuple or list of them, that stays as it is; only its state changes."""

    kinds: Mapping[str, Kind]
    count: int = 1

    def plain(self, value: Any) -> Any:
        return [save_fields(part, self.kinds) for part in _sequence(value)]

    def parse(self, plain: Any, where: str) -> Callable[[Any], Iterable[Put]]:
        if type(plain) is not list or len(plain) != self.count:
            raise wrong_state(f"{where} is no list of {self.count}")
        values = [_values(self.kinds, part, where) for part in plain]
        return lambda owners: [
            _put(part, of_one) for part, of_one in zip(owners, values, strict=True)
        ]

    def put(self, owner: object, name: str, value: Any) -> None:
        for put in value(_sequence(getattr(owner, name))):
            put()


def _sequence(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def save_fields(owner: object, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The attributes of ``owner`` that ``kinds`` names, as plain data."""
    return {name.lstrip("_"): kind.plain(getattr(owner, name)) for name, kind in kinds.items()}


def parse_fields(owner: object, kinds: Mapping[str, Kind], state: object, where: str) -> Put:
    """Check ``state``, which :func:`save_fields` made; what is returned puts it in force."""
    return _put(owner, _values(kinds, state, where))


def _values(kinds: Mapping[str, Kind], state: object, where: str) -> list[tuple[Kind, str, Any]]:
    fields = record(state, [name.lstrip("_") for name in kinds], where)
    return [
        (kind, name, kind.parse(fields[key], f"{where}.{key}"))
        for name, kind in kinds.items()
        for key in (name.lstrip("_"),)
    ]


def _put(owner: object, values: list[tuple[Kind, str, Any]]) -> Put:
    def put() -> None:
        for kind, name, value in values:
            kind.put(owner, name, value)

    return put


def record(state: object, keys: Iterable[str], where: str) -> dict[str, Any]:
    """``state``, which must be a dict with exactly ``keys``; raises :class:`UsageError`."""
    if type(state) is not dict:
        raise wrong_state(f"{where} is of type {type(state).__name__}, not a dict")
    if set(state) != set(keys):
        wrong = sorted(str(key)[:40] for key in set(state) ^ set(keys))
        raise wrong_state(f"{where} has other fields than it should: {', '.join(wrong)[:200]}")
    return state


def wrong_state(problem: str) -> UsageError:
    """The error for a state that cannot be loaded."""
    return UsageError(f"this is no state that this board can load: {problem}")
