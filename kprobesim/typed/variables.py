"""Of which type the kernel's variables are: by BTF, and of a few that it leaves out by name.

pahole writes per-CPU variables into BTF, with their places in the section, and others only where it
is told to (``global_var``, pahole 1.30), which no kernel of Debian's does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kprobesim.errors import TypesError
from kprobesim.typed.known_variables import KNOWN, KNOWN_PER_CPU
from kprobesim.types.btf import Btf
from kprobesim.types.holders import constant_value, nameless_struct
from kprobesim.types.model import DataSection, Type, Variable
from kprobesim.types.spelling import find_type

__all__ = ["VariableType", "find_variable"]

_PER_CPU = ".data..percpu"
_NAMELESS = re.compile(r"struct \{ (.*) \}")


class VariableType(NamedTuple):
    """What is known of a variable.

    Attributes:
        type: Of which type it is.
        per_cpu: Whether each CPU has one of its own.
        place: Where it lies in the section of per-CPU data, if that is known.
    """

    type: Type
    per_cpu: bool
    place: int | None


def find_variable(name: str, types: Sequence[Btf]) -> VariableType | None:
    """What is known of the variable ``name``; ``None`` if nobody knows it.

    Args:
        name: Its symbol.
        types: The kernel's types and its modules'.

    Raises:
        TypesError: They are damaged.
    """
    for btf in types:
        for variable in btf.named(name, Variable):
            place = _place(variable)
            return VariableType(variable.target, place is not None, place)
    for text in KNOWN.get(name) or KNOWN_PER_CPU.get(name, ()):
        found = _if_there(text, types)
        if found is not None:
            return VariableType(found, name in KNOWN_PER_CPU, None)
    return None


def _place(variable: Variable) -> int | None:
    for section in variable.btf.named(_PER_CPU, DataSection):
        for each in section.variables:
            if each.type is variable:
                return each.offset
    return None


def _if_there(text: str, types: Sequence[Btf]) -> Type | None:
    members = _NAMELESS.fullmatch(text)
    if members is not None:
        return nameless_struct(members[1].split(), types)
    head, bracket, count = text.partition("[")
    name = count.removesuffix("]")
    if bracket and not name.isdigit():
        value = constant_value(name, types)
        if value is None:
            return None
        text = f"{head}[{value}]"
    try:
        return find_type(text, types)
    except TypesError:
        return None
