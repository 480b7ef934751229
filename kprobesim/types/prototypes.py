"""``Prototypes``: the prototypes of many functions in C, of which each type is written once."""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.errors import TypesError
from kprobesim.types.c_text import MOST_PARTS, counted_declaration
from kprobesim.types.model import Function, FunctionPrototype, Type

__all__ = ["Prototypes"]

_NAME = "\0"  # in place of a name, which has no such character


class _Written(NamedTuple):
    """A declaration: what stands before and behind the name, and of how many parts it is made."""

    before: str
    behind: str
    parts: int


class Prototypes:
    """Writes as :func:`~kprobesim.types.c_text.prototype` does, functions of one BTF and its base.

    Ten thousands of functions take a few thousand types.
    """

    def __init__(self) -> None:
        self._named: dict[int, _Written] = {}
        self._nameless: dict[int, _Written] = {}

    def text(self, function: Function) -> str:
        """``ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)``.

        Raises:
            TypesError: A type leads back to itself, or refers to one that is not there.
        """
        proto = function.prototype
        written = [self._written(proto, *each) for each in proto.parameter_numbers()]
        returned = self._of(proto.returns, _NAME)
        if sum(each.parts for _, each in written) + returned.parts > MOST_PARTS:
            raise function.btf.damaged(f"type {function.number} is made of too many others")
        texts = [f"{each.before}{name}{each.behind}" for name, each in written]
        if proto.is_variadic:
            texts.append("...")
        own = f"{function.name}({', '.join(texts) or 'void'})"
        return f"{returned.before}{own}{returned.behind}"

    def _written(self, proto: FunctionPrototype, name: str, number: int) -> tuple[str, _Written]:
        """A parameter's name and type."""
        known = (self._named if name else self._nameless).get(number)
        if known is not None:
            return name, known
        found = proto.btf.get(number)
        if found is None:
            raise TypesError(proto.btf.source, f"has no type {number}")
        return name, self._of(found, _NAME if name else "")

    def _of(self, type: Type, name: str) -> _Written:
        kept = self._named if name else self._nameless
        known = kept.get(type.number)
        if known is None:
            text, parts = counted_declaration(type, name)
            before, _, behind = text.partition(_NAME)
            known = kept[type.number] = _Written(before, behind, parts)
        return known
