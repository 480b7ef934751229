"""Programs as plain data, and back: for snapshots, which outlive a process.

Back, everything is put together by the words of users, so what cannot be a program is refused as
theirs is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.programs.actions import (
    Action,
    Count,
    Histogram,
    Keyed,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Record,
    Sum,
)
from kprobesim.programs.choices import OrElse, Select, or_else, select
from kprobesim.programs.leaves import Argument, Fact, Register, Result
from kprobesim.programs.program import Program
from kprobesim.programs.spelling import arg, reg, retval
from kprobesim.programs.types import FACTS, SIZES
from kprobesim.programs.values import (
    Cast,
    Const,
    Load,
    Operation,
    Text,
    TextConst,
    Value,
    as_value,
    operation,
)

__all__ = ["program_from_data", "program_to_data"]


def program_to_data(program: Program) -> dict[str, Any]:
    """``program`` as lists, dicts, numbers, texts and bytes."""
    return {
        "actions": [_action_to_data(action) for action in program.actions],
        "when": None if program.when is None else _value_to_data(program.when),
        "returns": program.returns,
        "maxactive": program.maxactive,
    }


def program_from_data(data: Any) -> Program:
    """What :func:`program_to_data` was given; raises :class:`UsageError` for anything else."""
    try:
        when = None if data["when"] is None else _value(data["when"])
        actions = [_action(each) for each in data["actions"]]
        return Program(actions, when, bool(data["returns"]), data["maxactive"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"a stored program is damaged ({error})") from error


# -- values ----------------------------------------------------------------------------------------


def _value_to_data(value: Value) -> list[Any]:
    to = _value_to_data
    if isinstance(value, Operation):
        return ["operation", value.operator, to(value.left), to(value.right)]
    if isinstance(value, Load):
        return ["load", to(value.address), value.offset, str(value.kind), value.user]
    if isinstance(value, Cast):
        return ["cast", to(value.value), str(value.kind)]
    if isinstance(value, Text):
        return ["text", to(value.address), value.bound, value.user, value.nonempty]
    if isinstance(value, Const):
        return ["const", value.number]
    if isinstance(value, Select):
        return ["select", to(value.condition), to(value.yes), to(value.no)]
    if isinstance(value, OrElse):
        return ["or else", to(value.value), value.number]
    if isinstance(value, TextConst):
        return ["text const", value.data]
    if isinstance(value, Argument):
        return ["argument", value.n]
    if isinstance(value, Register):
        return ["register", value.name]
    if isinstance(value, Fact):
        return ["fact", value.name]
    assert isinstance(value, Result)
    return ["result"]


def _load(address: Any, offset: int, kind: str, user: bool = False) -> Value:
    pointer = _value(address)
    load = pointer.uderef(offset) if user else pointer.deref(offset)
    return load if kind == str(load.kind) else _cast(load, kind)


def _cast(value: Value, kind: str) -> Value:
    if kind not in SIZES:
        raise ValueError(f"there is no type {kind!r}")
    found: Value = getattr(value, kind)
    return found


def _text(address: Any, bound: int, user: bool, nonempty: bool = False) -> Value:
    pointer = _value(address)
    text = (pointer.ustring if user else pointer.string).upto(bound)
    return replace(text, nonempty=nonempty)


def _fact(name: str) -> Value:
    if name not in FACTS:
        raise ValueError(f"there is no fact {name!r}")
    return Fact(name)


_VALUES: dict[str, Callable[..., Value]] = {
    "operation": lambda operator, left, right: operation(operator, _value(left), _value(right)),
    "load": _load,
    "cast": lambda of, kind: _cast(_value(of), kind),
    "text": _text,
    "const": as_value,
    "select": lambda condition, yes, no: select(_value(condition), _value(yes), _value(no)),
    "or else": lambda value, number: or_else(_value(value), number),
    "text const": as_value,
    "argument": arg,
    "register": reg,
    "fact": _fact,
    "result": lambda: retval,
}


def _value(data: Any) -> Value:
    return _VALUES[data[0]](*data[1:])


# -- actions ---------------------------------------------------------------------------------------

_OF_VALUE: dict[str, type[Sum | Minimum | Maximum]] = {
    kind.__name__: kind for kind in (Sum, Minimum, Maximum)
}


def _action_to_data(action: Action) -> dict[str, Any]:
    data: dict[str, Any] = {"action": type(action).__name__}
    if isinstance(action, Record):
        fields = [[name, _value_to_data(value)] for name, value in action.fields]
        more = {"capacity": action.capacity, "full": action.full, "name": action.name}
        return {**data, "fields": fields, **more}
    assert isinstance(action, Keyed)
    data["key"] = [_value_to_data(value) for value in action.key]
    data["max_keys"] = action.max_keys
    if not isinstance(action, Count):
        data["value"] = _value_to_data(action.value)  # type: ignore[attr-defined]
    if isinstance(action, Histogram):
        scale = action.scale
        data["linear"] = [scale.low, scale.high, scale.step] if isinstance(scale, Linear) else None
    return data


def _action(data: Any) -> Action:
    name = data["action"]
    if name == "Record":
        fields = {name: _value(value) for name, value in data["fields"]}
        return Record(fields, capacity=data["capacity"], full=data["full"], name=str(data["name"]))
    key, max_keys = tuple(map(_value, data["key"])), data["max_keys"]
    if name == "Count":
        return Count(key, max_keys=max_keys)
    value = _value(data["value"])
    if name == "Histogram":
        scale = Log2() if data["linear"] is None else Linear(*data["linear"])
        return Histogram(value, key, max_keys=max_keys, scale=scale)
    return _OF_VALUE[name](value, key, max_keys=max_keys)
