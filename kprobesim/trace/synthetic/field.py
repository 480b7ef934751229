"""The fields of synthetic events: parse_synth_field() of kernel/trace/trace_events_synth.c."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Any

from kprobesim.dynevent.fetch_type import FETCH_TYPES, FetchType
from kprobesim.dynevent.grammar.c_text import is_good_name, kstrtouint
from kprobesim.programs.fault import FAULT
from kprobesim.programs.types import SIZES, Int, Str, Type
from kprobesim.trace.synthetic.error import SyntheticError

__all__ = ["STRING_BYTES", "SynthField", "parse_fields"]

STRING_BYTES = 256
"""Of a text (``STR_VAR_LEN_MAX``)."""
_MOST_FIELDS = 64  # SYNTH_FIELDS_MAX
_DYNAMIC = "__data_loc "
#: Bytes of each type, and how it is printed.
_NUMBERS = {
    "s64": (8, "%lld"),
    "u64": (8, "%llu"),
    "s32": (4, "%d"),
    "u32": (4, "%u"),
    "s16": (2, "%d"),
    "u16": (2, "%u"),
    "s8": (1, "%d"),
    "u8": (1, "%u"),
    "char": (1, "%d"),
    "unsigned char": (1, "%u"),
    "int": (4, "%d"),
    "unsigned int": (4, "%u"),
    "long": (8, "%ld"),
    "unsigned long": (8, "%lu"),
    "bool": (1, "%d"),
    "pid_t": (4, "%d"),
    "gfp_t": (4, "%x"),
}


@dataclass(frozen=True)
class SynthField:
    """One field.

    Attributes:
        name: Its name.
        type: Its type in C, as ``format`` has it.
        size: Its bytes; of a text, the longest with its NUL, 8 of one of any length.
    """

    name: str
    type: str
    size: int

    @property
    def is_string(self) -> bool:
        """Whether it is a text."""
        return "char[" in self.type

    @property
    def is_dynamic(self) -> bool:
        """Whether it is a text of any length."""
        return self.type.startswith(_DYNAMIC)

    @property
    def signed(self) -> bool:
        """Whether it is a signed number."""
        return not self.type.startswith("u") and self.type != "gfp_t"

    @property
    def shown_type(self) -> str:
        """Its type as ``synthetic_events`` lists it."""
        return self.type.removeprefix(_DYNAMIC)

    @property
    def print_format(self) -> str:
        """How it is printed."""
        return "%s" if self.is_string else _NUMBERS[self.type][1]

    @property
    def kind(self) -> Type:
        """What it is in a program."""
        return Str(STRING_BYTES) if self.is_string else SIZES[self._number_name]

    @property
    def fetch_type(self) -> FetchType:
        """The type of a probe's argument that is like it."""
        return FETCH_TYPES["string" if self.is_string else self._number_name]

    @property
    def _number_name(self) -> str:
        return f"{'s' if self.signed else 'u'}{8 * self.size}"

    @property
    def words(self) -> int:
        """Words of 64 bits in a record."""
        return STRING_BYTES // 8 if self.is_string and not self.is_dynamic else 1

    def stored(self, value: Any) -> Any:
        """What a record keeps of a value: a number of its size, a text that fits."""
        if self.is_string:
            text = value if isinstance(value, bytes) else b""
            return text[: (STRING_BYTES if self.is_dynamic else self.size) - 1]
        if not isinstance(value, int):
            return 0
        kind = self.kind
        assert isinstance(kind, Int)
        return kind.narrow(value)

    def show(self, value: Any) -> str:
        """``NAME=VALUE`` as in a line of the trace."""
        if value is FAULT:
            value = "" if self.is_string else 0
        if self.print_format == "%x":
            return f"{self.name}={value:x} ()"  # of __GFP_ flags no names are known here
        return f"{self.name}={value}"


def parse_fields(text: str, command: str) -> tuple[SynthField, ...]:
    """The fields that ``TYPE NAME[; TYPE NAME]...`` says.

    Raises:
        SyntheticError: The kernel refuses them.
    """
    fields: list[SynthField] = []
    for part in text.split(";"):
        words = part.split()
        while words:
            field, used = _parse_field(words, command)
            if len(fields) == _MOST_FIELDS:
                raise SyntheticError(errno.EINVAL, command, "TOO_MANY_FIELDS")
            fields.append(field)
            del words[:used]
    if not fields:
        raise SyntheticError(errno.EINVAL, command, "INVALID_CMD")
    return tuple(fields)


def _parse_field(words: list[str], command: str) -> tuple[SynthField, int]:
    used = 3 if words[0] == "unsigned" else 2
    if len(words) < used:
        identifier = "INCOMPLETE_TYPE" if used > 2 else "INVALID_FIELD"
        raise SyntheticError(errno.EINVAL, command, identifier, words[0])
    prefix = "unsigned " if words[0] == "unsigned" else ""
    type_text, name = words[used - 2 : used]
    name, bracket, rest = name.partition("[")
    if not is_good_name(name):
        raise SyntheticError(errno.EINVAL, command, "BAD_NAME", words[used - 1])
    type = prefix + type_text + bracket + rest
    size = _size(type)
    if size is None:
        if bracket:
            raise SyntheticError(errno.EINVAL, command, "INVALID_ARRAY_SPEC", words[used - 1])
        raise SyntheticError(errno.EINVAL, command, "INVALID_TYPE", type_text)
    if size:
        return SynthField(name, type, size), used
    return SynthField(name, _DYNAMIC + type, 8), used


def _size(type: str) -> int | None:
    """Bytes of a type; 0: a text of any length; ``None``: there is no such type."""
    if type in _NUMBERS:
        return _NUMBERS[type][0]
    found = re.search(r"char\[(.{0,3})\]$", type)
    if found is None:
        return None
    if not found[1]:
        return 0
    number, size = kstrtouint(found[1])
    return size if not number and size <= STRING_BYTES else None
