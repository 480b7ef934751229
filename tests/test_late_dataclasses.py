"""A dataclass that is completed late is the standard library's to whoever uses it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from kprobesim import late_dataclasses


def _classes(module: Any) -> list[type]:
    dataclass: Callable[..., Any] = module.dataclass
    field: Callable[..., Any] = module.field

    @dataclass
    class Plain:
        a: int
        b: list[int] = field(default_factory=list)
        c: int = 3
        kind: ClassVar[str] = "plain"

    @dataclass(frozen=True)
    class Frozen:
        a: int
        b: str = field(default="b", compare=False)
        c: int = field(default=0, repr=False)

    @dataclass(frozen=True, slots=True)
    class Slotted:
        a: int
        b: str
        c: int

        @property
        def both(self) -> str:
            return f"{self.a}{self.b}"

    @dataclass(frozen=True, slots=True)
    class SlottedWithDefault:
        a: int
        b: str = "b"
        c: int = 0

    @dataclass(order=True)
    class Ordered:
        a: int
        b: int = field(default=0, compare=False)
        c: int = 0

    @dataclass(frozen=True, eq=False, repr=False)
    class ByIdentity:
        a: int
        b: int = 2
        c: int = 0

    @dataclass(frozen=True)
    class OwnInit:
        a: int
        b: int
        c: int

        def __init__(self, a: int, b: int, c: int = 1) -> None:
            for name, value in (("a", a), ("b", b), ("c", c)):
                object.__setattr__(self, name, value)

    @dataclass(frozen=True)
    class Heir(Frozen):
        d: int = 4

    return [Plain, Frozen, Slotted, SlottedWithDefault, Ordered, ByIdentity, OwnInit, Heir]


LATE, REAL = _classes(late_dataclasses), _classes(dataclasses)
PAIRS = list(zip(LATE, REAL, strict=True))


def _said(make: Callable[[], object]) -> object:
    """What came out, or which error."""
    try:
        return make()
    except (TypeError, AttributeError) as error:
        return type(error).__name__


@pytest.mark.parametrize(("late", "real"), PAIRS, ids=[cls.__name__ for cls in LATE])
def test_it_behaves_as_the_real_one(late: type, real: type) -> None:
    values = (1, [2] if late.__name__ == "Plain" else "2", 3)
    seen = []
    for cls in (late, real):
        one, same, other = cls(*values), cls(*values), cls(9, *values[1:])
        seen.append(
            {
                "repr": "at 0x" in repr(one) or repr(one),
                "equal": (one == same, one == other, one == values),
                "hash": _said(lambda one=one, same=same: hash(one) == hash(same)),  # type: ignore[misc]
                "less": _said(lambda one=one, other=other: one < other),  # type: ignore[misc]
                "set": _said(lambda one=one: setattr(one, "a", 5)),  # type: ignore[misc]
                "slots": getattr(cls, "__slots__", None),
                "match": cls.__match_args__,  # type: ignore[attr-defined]
                "fields": [(f.name, f.compare, f.repr) for f in dataclasses.fields(cls)],
                "signature": str(inspect.signature(cls)),
                "replaced": dataclasses.replace(other, a=7).a,
                "copied": copy.copy(other).a,
                "too few": _said(cls),
            }
        )
    assert seen[0] == seen[1]


@late_dataclasses.dataclass(frozen=True, slots=True)
class Pickled:
    """At the top of a module, so that it can be found."""

    a: int
    b: tuple[int, ...]


def test_one_comes_through_a_pickle_before_it_is_used() -> None:
    packed = pickle.dumps(Pickled(1, (2, 3)))
    assert pickle.loads(packed) == Pickled(1, (2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pickle.loads(packed).a = 2
    assert dataclasses.is_dataclass(Pickled)
    assert dataclasses.asdict(Pickled(1, ())) == {"a": 1, "b": ()}


def test_nothing_is_completed_before_it_is_used() -> None:
    """The library itself is not even imported."""
    cls = _classes(late_dataclasses)[0]
    assert isinstance(vars(cls)["__init__"], late_dataclasses._Late)
    assert cls(1).c == 3
    assert isinstance(vars(cls)["__eq__"], late_dataclasses._Late)
    assert cls(1) == cls(1)
    assert inspect.isfunction(vars(cls)["__eq__"])


def test_what_is_frozen_is_so_from_its_first_instance_on() -> None:
    cls = _classes(late_dataclasses)[1]
    one = cls(1)
    assert isinstance(vars(cls)["__eq__"], late_dataclasses._Late)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.a


@pytest.mark.parametrize("name", ["__init__", "__eq__"])
def test_wrong_classes_are_refused_as_ever(name: str) -> None:
    class Wrong:
        a: int = 1
        b: int

    late = late_dataclasses.dataclass(Wrong)
    with pytest.raises(TypeError, match="non-default argument"):
        getattr(late, name)
