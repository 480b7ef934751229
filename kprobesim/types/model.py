"""The types that BTF knows, each read from its record when it is asked something."""

from __future__ import annotations

from kprobesim.types.base import (
    Alias,
    Array,
    Const,
    DeclTag,
    Pointer,
    Qualifier,
    Restrict,
    Type,
    Typedef,
    TypeTag,
    Unknown,
    Variable,
    Void,
    Volatile,
)
from kprobesim.types.composites import (
    Composite,
    DataSection,
    Forward,
    Member,
    SectionVariable,
    Struct,
    Union,
)
from kprobesim.types.functions import Function, FunctionPrototype, Parameter
from kprobesim.types.scalars import Enum, Enum64, EnumValue, Float, Int

__all__ = [
    "KINDS",
    "Alias",
    "Array",
    "Composite",
    "Const",
    "DataSection",
    "DeclTag",
    "Enum",
    "Enum64",
    "EnumValue",
    "Float",
    "Forward",
    "Function",
    "FunctionPrototype",
    "Int",
    "Member",
    "Parameter",
    "Pointer",
    "Qualifier",
    "Restrict",
    "SectionVariable",
    "Struct",
    "Type",
    "TypeTag",
    "Typedef",
    "Union",
    "Unknown",
    "Variable",
    "Void",
    "Volatile",
]

#: By the number of the kind.
KINDS: tuple[type[Type], ...] = (
    Void,
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    FunctionPrototype,
    Variable,
    DataSection,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
)
