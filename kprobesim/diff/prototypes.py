"""Which functions and tracepoints have other arguments, or names of them, or another result."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from kprobesim.diff.change import Change, Difference
from kprobesim.diff.texts import Texts
from kprobesim.types.btf import Btf
from kprobesim.types.model import Function, FunctionPrototype, Pointer, Typedef

__all__ = ["Prototypes", "changed_events", "changed_functions", "declared", "without_const"]

_UNUSED = "__unused"
_EVENT = "btf_trace_"  # typedefs of a tracepoint's arguments

#: What a function returns, and types and names of its parameters.
Shape = tuple[str, tuple[str, ...], tuple[str, ...]]


class Prototypes:
    """The prototypes of one kernel's functions and tracepoints, as text."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self.texts = Texts(btf)

    def function(self, name: str) -> FunctionPrototype | None:
        """The prototype of the function of that name; of several the first."""
        numbers = self._btf.functions().get(name)
        found = None if numbers is None else self._btf.type(numbers[0])
        return found.prototype if isinstance(found, Function) else None

    @cached_property
    def events(self) -> Mapping[str, FunctionPrototype]:
        """What each tracepoint passes to its probes."""
        found = {}
        for each in self._btf.of(Typedef):
            if each.name.startswith(_EVENT):
                target = each.stripped
                inner = target.target if isinstance(target, Pointer) else target
                if isinstance(inner, FunctionPrototype):
                    found[each.name.removeprefix(_EVENT)] = inner
        return found

    def shape(self, prototype: FunctionPrototype) -> Shape:
        """What can be compared of it."""
        parameters = prototype.parameters
        types = [self.texts.of(each.type) for each in parameters]
        if prototype.is_variadic:
            types.append("...")
        return (
            self.texts.of(prototype.returns),
            tuple(types),
            tuple(each.name for each in parameters),
        )


def changed_functions(
    old: Prototypes, new: Prototypes, names: Collection[str]
) -> Iterator[Difference]:
    """The functions of ``names``, which both kernels have, whose prototypes differ."""
    for name in names:
        before, after = old.function(name), new.function(name)
        if before is None:
            continue
        if after is None:
            yield Difference(Change.NO_PROTOTYPE, name, declared(old.shape(before), name))
            continue
        if old.texts.of_prototype(before) == new.texts.of_prototype(after):
            continue
        was, now = old.shape(before), new.shape(after)
        if was != now:
            same = without_const(was) == without_const(now)
            change = Change.PARAMETER_NAME if same else Change.SIGNATURE
            if was[:2] == now[:2] and _UNUSED in (*was[2], *now[2]):
                continue  # which of the equal wrappers of system calls was taken
            yield Difference(
                change, name, declared(was, name), declared(now, name), tuple(_what(was, now))
            )


def changed_events(
    old: Prototypes, new: Prototypes, wanted: Collection[str] | None
) -> Iterator[Difference]:
    """The tracepoints that both kernels have, whose arguments differ; only the ``wanted``."""
    for name in old.events.keys() & new.events.keys():
        if wanted is None or name in wanted:
            was, now = old.shape(old.events[name]), new.shape(new.events[name])
            if was[:2] != now[:2]:
                yield Difference(
                    Change.EVENT_SIGNATURE, name, declared(was, name), declared(now, name)
                )


def declared(shape: Shape, name: str) -> str:
    """The prototype of ``name`` in one line of C."""
    returns, types, names = shape
    places = [
        _named(type, names[number] if number < len(names) else "")
        for number, type in enumerate(types)
    ]
    gap = "" if returns.endswith("*") else " "
    return f"{returns}{gap}{name}({', '.join(places) or 'void'})"


def without_const(shape: Shape) -> tuple[str, ...]:
    """Result and types of parameters as the machine has them."""
    return tuple(text.replace("const ", "").replace(" const", "") for text in (shape[0], *shape[1]))


def _named(type: str, name: str) -> str:
    if "(*)" in type:
        return type.replace("(*)", f"(*{name})", 1)
    return f"{type}{name}" if type.endswith("*") else f"{type} {name}".rstrip()


def _what(was: Shape, now: Shape) -> Iterator[str]:
    """One line for each parameter that is not what it was, and for the result."""
    if was[0] != now[0]:
        yield f"returns {now[0]}, not {was[0]}"
    if len(was[1]) != len(now[1]):
        yield f"takes {len(now[1])} arguments, not {len(was[1])}"
    for number, (before, after) in enumerate(zip(was[1], now[1], strict=False)):
        if before != after:
            yield f"argument {number} is {after}, not {before}"
    if was[:2] == now[:2]:
        for number, (before, after) in enumerate(zip(was[2], now[2], strict=True)):
            if before != after:
                yield f"argument {number} is called {after or 'nothing'}, not {before or 'nothing'}"
