"""What typed values look like: numbers as C writes them, structs with all their members."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kprobesim.types.c_text import declaration
from kprobesim.types.model import Array, Composite, Enum, FunctionPrototype, Int, Pointer, Type

if TYPE_CHECKING:  # which shows itself so
    from kprobesim.typed.value import TypedValue

__all__ = ["shown", "with_type"]

_MOST_ELEMENTS = 64
_MOST_DEEP = 6
_INDENT = "    "

NameAt = Callable[[int], "str | None"]


def shown(value: TypedValue, name_at: NameAt) -> str:
    """The value without its type: ``5``, ``0xffff888003a1c000``, ``{...}``."""
    return "\n".join(_lines(value, name_at, 0))


def with_type(value: TypedValue, name_at: NameAt) -> str:
    """The same with its type, as a cast: ``(loff_t)5``."""
    return f"({type_name(value.type_)}){shown(value, name_at)}"


def type_name(type: Type) -> str:
    """The type in C; of one without a name its kind alone."""
    text = declaration(type)
    return text if "\n" not in text else type.stripped.kind


def _lines(value: TypedValue, name_at: NameAt, depth: int) -> Iterator[str]:
    stripped = value.type_.stripped
    if isinstance(stripped, Composite):
        yield from _members(value.read_(), stripped, name_at, depth)
    elif isinstance(stripped, Array):
        yield from _elements(value.read_(), stripped, name_at, depth)
    else:
        yield _number(value, stripped, name_at)


def _number(value: TypedValue, stripped: Type, name_at: NameAt) -> str:
    number = value.value_()
    if isinstance(stripped, Pointer):
        name = None
        if number and isinstance(stripped.target.stripped, FunctionPrototype):
            name = name_at(number)
        return f"{number:#x}" if name is None else f"{number:#x} ({name})"
    if isinstance(stripped, Enum):
        return next((name for name, each in stripped.values if each == number), str(number))
    return str(number).lower() if isinstance(number, bool) else str(number)


def _members(value: TypedValue, stripped: Composite, name_at: NameAt, depth: int) -> Iterator[str]:
    yield from _block(
        [
            (f".{member.name} = ({type_name(member.type)})", value.member_(member.name))
            for member in stripped.flat()
            if member.name
        ],
        name_at,
        depth,
    )


def _elements(value: TypedValue, stripped: Array, name_at: NameAt, depth: int) -> Iterator[str]:
    element = stripped.element.stripped
    if isinstance(element, Int) and element.size == 1 and element.name == "char":
        text = value.string_()
        if all(32 <= byte < 127 for byte in text):
            yield f'"{text.decode()}"'
            return
    if stripped.count > _MOST_ELEMENTS:
        yield f"{{ {stripped.count} elements }}"
    else:
        yield from _block([("", each) for each in value], name_at, depth)


def _block(parts: list[tuple[str, TypedValue]], name_at: NameAt, depth: int) -> Iterator[str]:
    if not parts or depth >= _MOST_DEEP:
        yield "{}" if not parts else "{...}"
        return
    yield "{"
    for before, each in parts:
        first, *others = _lines(each, name_at, depth + 1)
        *body, last = [f"{before}{first}", *others]
        yield from (f"{_INDENT}{line}" for line in body)
        yield f"{_INDENT}{last},"
    yield "}"
