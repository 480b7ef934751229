"""Dataclasses that are completed when first used: a command makes a tenth of those it imports.

To write and compile a dataclass's methods takes half a millisecond, and a resumed kernel imports
eighty of them. ``dataclass`` and ``field`` here are those of the standard library to whoever
reads, checks or uses a class; only that :mod:`dataclasses` is asked when an instance is made, or
when a method or a list of fields is looked up. With ``slots=True`` and a default value it is asked
at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

_completing = RLock()

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:

    def dataclass(cls=None, /, **options):
        """As :func:`dataclasses.dataclass`."""

        def late(cls):
            own_init = "__init__" in vars(cls) or not options.get("init", True)
            fields = vars(cls).get("__annotations__", {})
            slots = options.get("slots", False)
            if (own_init and options.get("frozen")) or (
                slots and any(f in vars(cls) for f in fields)
            ):
                return _complete(cls, options)
            if slots:
                options.pop("slots")  # they are there now
                cls = _with_slots(cls, fields, frozen=options.get("frozen", False))
            for name in _made(options):
                if name not in vars(cls):
                    setattr(cls, name, _Late(cls, name, options))
            if "__hash__" not in vars(cls) or vars(cls)["__hash__"] is None:
                _late_hash(cls, options)
            return cls

        return late if cls is None else late(cls)

    def field(**options):
        """As :func:`dataclasses.field`."""
        return _Field(options)


def _with_slots(cls: type, fields: Iterable[str], *, frozen: bool) -> type:
    """The same class with a slot for each of its ``fields``, none of which has a default."""
    content = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    content["__slots__"] = tuple(fields)
    if frozen:
        content.setdefault("__getstate__", _state_of)
        content.setdefault("__setstate__", _set_state)
    made = type(cls)(cls.__name__, cls.__bases__, content)
    made.__qualname__ = cls.__qualname__
    return made


def _state_of(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)


def _made(options: dict[str, Any]) -> list[str]:
    """The attributes that are made, but for ``__hash__`` and what forbids assignments."""
    names = ["__dataclass_fields__", "__dataclass_params__", "__match_args__"]
    names += [f"__{name}__" for name in ("init", "repr", "eq") if options.get(name, True)]
    if options.get("order"):
        names += ["__lt__", "__le__", "__gt__", "__ge__"]
    return names


def _late_hash(cls: type, options: dict[str, Any]) -> None:
    """Where there is an ``__eq__`` of whoever's, there is a ``__hash__``, if only ``None``."""
    frozen, equal = options.get("frozen", False), options.get("eq", True)
    if options.get("unsafe_hash") or (frozen and equal):
        setattr(cls, "__hash__", _Late(cls, "__hash__", options))  # noqa: B010 (mypy's assignment)
    elif equal:
        setattr(cls, "__hash__", None)  # noqa: B010


class _Field:
    """What a field was declared as."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options


class _Late:
    """Stands for an attribute of ``cls`` until somebody looks it up."""

    def __init__(self, cls: type, name: str, options: dict[str, Any]) -> None:
        self._cls = cls
        self._name = name
        self._options = options

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        with _completing:
            if vars(self._cls).get(self._name) is self:
                _complete(self._cls, self._options)
        found = vars(self._cls)[self._name]
        bind = getattr(type(found), "__get__", None)
        return found if bind is None else bind(found, instance, owner)


def _complete(cls: type, options: dict[str, Any]) -> type:
    """Let the standard library do it; what stands for something else is taken away before."""
    from dataclasses import dataclass as real_dataclass
    from dataclasses import field as real_field

    for name, value in list(vars(cls).items()):
        if isinstance(value, _Late):
            delattr(cls, name)
        elif isinstance(value, _Field):
            setattr(cls, name, real_field(**value.options))
    return real_dataclass(**options)(cls)
