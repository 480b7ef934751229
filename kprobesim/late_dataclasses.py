"""Dataclasses that are completed when first used: a command makes a tenth of those it imports.

To write and compile a dataclass's methods takes half a millisecond, and a resumed kernel imports
eighty of them. ``dataclass`` and ``field`` here are those of the standard library to whoever
reads, checks or uses a class; only that :mod:`dataclasses` is asked when a method or a list of
fields is looked up. Instances come before that: a plain ``__init__`` is written here, a tenth of
the work, and :mod:`dataclasses` is not even imported for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from threading import RLock
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, cast

__all__ = ["dataclass", "field"]

_completing = RLock()
_defaults: dict[type, dict[str, Any]] = {}
"""Of classes with slots, which cannot hold them."""

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:

    def dataclass(cls=None, /, **options):
        """As :func:`dataclasses.dataclass`."""

        def late(cls):
            own_init = "__init__" in vars(cls) or not options.get("init", True)
            fields = vars(cls).get("__annotations__", {})
            slots = options.get("slots", False)
            defaults = {f: vars(cls)[f] for f in fields if f in vars(cls)} if slots else {}
            if (own_init and (options.get("frozen") or defaults)) or not _fit(fields, defaults):
                return _complete(cls, options)
            if slots:
                options.pop("slots")  # they are there now
                cls = _with_slots(cls, fields, frozen=options.get("frozen", False))
                _defaults[cls] = defaults
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


def _fit(fields: Iterable[str], defaults: dict[str, Any]) -> bool:
    """Whether the ``defaults`` of a class with slots are plain, and those of its last fields."""
    have = [name in defaults for name in fields]
    plain = all(
        isinstance(value, Hashable) and type(value) is not _Field for value in defaults.values()
    )
    return plain and have == sorted(have)


def _with_slots(cls: type, fields: Iterable[str], *, frozen: bool) -> type:
    """The same class with a slot for each of its ``fields``, and without their defaults."""
    left_out = {"__dict__", "__weakref__", *fields}
    content = {k: v for k, v in vars(cls).items() if k not in left_out}
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
            if vars(self._cls).get(self._name) is self and not (
                self._name == "__init__" and _make_init(self._cls, self._options)
            ):
                _complete(self._cls, self._options)
        found = vars(self._cls)[self._name]
        bind = getattr(type(found), "__get__", None)
        return found if bind is None else bind(found, instance, owner)


def _complete(cls: type, options: dict[str, Any]) -> type:
    """Let the standard library do it; what stands for something else is taken away before."""
    from dataclasses import dataclass as real_dataclass
    from dataclasses import field as real_field

    defaults = _defaults.get(cls)
    if defaults:  # which a class with slots cannot tell: its __init__ stays
        if isinstance(vars(cls)["__init__"], _Late) and not _make_init(cls, options):
            raise TypeError(f"{cls.__qualname__}: take the standard library's dataclass for it")
        init = vars(cls)["__init__"]
        init.until_completed = False
        options = {**options, "init": False}
    for name, value in list(vars(cls).items()):
        if isinstance(value, _Late) or getattr(value, "until_completed", False):
            delattr(cls, name)
        elif isinstance(value, _Field):
            setattr(cls, name, real_field(**value.options))
    made: Any = real_dataclass(**options)(cls)
    if defaults:
        made.__dataclass_params__.init = True
        for name, value in defaults.items():
            made.__dataclass_fields__[name].default = value
    return cast(type, made)


# -- instances before that -----------------------------------------------------------------------


class _Factory:
    def __repr__(self) -> str:
        return "<factory>"


_NONE, _FACTORY = object(), _Factory()
_PLAIN = {"frozen", "eq", "order", "repr", "slots", "unsafe_hash"}
_NO_FIELD = "ClassVar"
_SPECIAL = ("InitVar", "KW_ONLY", "typing.")


def _make_init(cls: type, options: dict[str, Any]) -> bool:
    """Give ``cls`` its ``__init__``, and what forbids assignments; whether it is that simple."""
    fields = _fields_of(cls) if _PLAIN.issuperset(options) else None
    if fields is None:
        return False
    frozen = options.get("frozen", False)
    if frozen and vars(cls).keys() & {"__setattr__", "__delattr__"}:
        return False
    names: dict[str, Any] = {"_set": object.__setattr__, "_FACTORY": _FACTORY}
    parameters, lines, has_default = [], [], False
    for name, (_, default, factory) in fields.items():
        value = name
        if factory is not _NONE:
            names[f"_make_{name}"], names[f"_default_{name}"] = factory, _FACTORY
            value = f"_make_{name}() if {name} is _FACTORY else {name}"
        elif default is not _NONE:
            names[f"_default_{name}"] = default
        elif has_default:
            return False  # an error, which the standard library words
        has_default = has_default or f"_default_{name}" in names
        parameters.append(f"{name}=_default_{name}" if f"_default_{name}" in names else name)
        lines.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(
        f"def __init__({', '.join(['self', *parameters])}):\n" + "\n".join(lines or [" pass"]),
        names,
    )
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {name: kind for name, (kind, *_) in fields.items()} | {"return": None}
    _until_completed(cls, made)
    if frozen:

        def __setattr__(self: Any, name: str, value: Any) -> None:
            _complete_once(cls, options)
            setattr(self, name, value)

        def __delattr__(self: Any, name: str) -> None:
            _complete_once(cls, options)
            delattr(self, name)

        _until_completed(cls, __setattr__)
        _until_completed(cls, __delattr__)
    return True


def _until_completed(cls: type, method: Any) -> None:
    method.until_completed = True
    setattr(cls, method.__name__, method)


def _complete_once(cls: type, options: dict[str, Any]) -> None:
    with _completing:
        if any(isinstance(value, _Late) for value in vars(cls).values()):
            _complete(cls, options)


def _fields_of(cls: type) -> dict[str, tuple[Any, Any, Any]] | None:
    """Type, default and factory of each field by name; ``None`` where it is not that simple."""
    found: dict[str, tuple[Any, Any, Any]] = {}
    for base in reversed(cls.__mro__[:-1]):
        known = vars(base).get("__dataclass_fields__")
        if known is None:
            continue  # no dataclass
        if not isinstance(known, _Late):
            return None  # the standard library's own, or completed
        for name, kind in vars(base).get("__annotations__", {}).items():
            if not isinstance(kind, str) or any(word in kind for word in _SPECIAL):
                return None
            if kind.startswith(_NO_FIELD):
                continue
            default, factory = vars(base).get(name, _NONE), _NONE
            if isinstance(default, MemberDescriptorType):  # a slot
                default = _defaults.get(base, {}).get(name, _NONE)
            elif isinstance(default, _Field):
                if default.options.keys() & {"init", "kw_only"}:
                    return None
                factory = default.options.get("default_factory", _NONE)
                default = default.options.get("default", _NONE)
            elif not isinstance(default, Hashable):
                return None  # an error, which the standard library words
            found[name] = (kind, default, factory)
    return found
