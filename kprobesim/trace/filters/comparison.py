"""One comparison of a filter: a field, an operator, a value (``parse_pred()``)."""

from __future__ import annotations

import errno
import re
from typing import NoReturn

from kprobesim.programs.patterns import Pattern, glob, literal
from kprobesim.sizes import MASK64
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.facts import FilterFacts
from kprobesim.trace.filters.field import Field, FieldKind, Fields
from kprobesim.trace.filters.nodes import (
    CpuNumber,
    CpuSet,
    InFunction,
    Like,
    Never,
    Node,
    Not,
    Number,
)
from kprobesim.trace.filters.numbers import cpu_list, kstrtoll, kstrtoull
from kprobesim.trace.filters.versions import SINCE_CPUS, SINCE_FUNCTION

__all__ = ["SPACE", "Comparisons", "pattern_of"]

SPACE = " \t\n\v\f\r\xa0"
_WORD = re.compile(r"[^\W_]+|_")
_OPERATOR = re.compile("~|!=|==|<=|<|>=|>|&")
_MAX_TEXT = 256  # MAX_FILTER_STR_VAL
_MAX_NUMBER = 24  # num_buf
_OF_FUNCTION, _OF_USER, _CPUS = ".function", ".ustring", "CPUS"
_SIZES = (1, 2, 4, 8)
_TOUCHING = {FieldKind.CPUMASK, FieldKind.CPU, FieldKind.OTHER}


class Comparisons:
    """Reads the comparisons of one filter.

    Attributes:
        at: Where it reads on.
    """

    def __init__(self, text: str, fields: Fields, facts: FilterFacts) -> None:
        """``text`` has a character for each byte."""
        self._text, self._fields, self._facts = text, fields, facts
        self.at = self._start = 0

    def read(self) -> Node:
        """The comparison that begins at ``at``; raises :class:`FilterError`."""
        self._start = self.at
        name = self._word()
        if not name:
            raise FilterError(errno.EPERM, self._text)
        field = self._fields.find(name)
        if field is None:
            self._refuse("FIELD_NOT_FOUND")
        self._skip(_OF_USER)
        function = self._facts.version >= SINCE_FUNCTION and self._skip(_OF_FUNCTION)
        self._skip_space()
        operator = _OPERATOR.match(self._text, self.at)
        if operator is None:
            self._refuse("INVALID_OP")
        self.at = operator.end()
        self._skip_space()
        if function:
            return self._function(field, operator[0])
        if self._facts.version >= SINCE_CPUS and self._skip(_CPUS):
            return self._cpus(field, operator[0])
        if self._text.startswith(("'", '"'), self.at):
            return self._string(field, operator[0])
        if self._text.startswith((*"0123456789-",), self.at):
            return self._number(field, operator[0])
        return self._refuse("INVALID_VALUE")

    # -- reading on --------------------------------------------------------------------------------

    def _word(self) -> str:
        """Letters, digits and underscores."""
        start = self.at
        while self.at < len(self._text) and _is_word(self._text[self.at]):
            self.at += 1
        return self._text[start : self.at]

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def _skip_space(self) -> None:
        while self.at < len(self._text) and self._text[self.at] in SPACE:
            self.at += 1

    def _refuse(self, identifier: str, at: int | None = None) -> NoReturn:
        """Places are counted from behind the comparison's first character."""
        column = (self.at if at is None else at) + 1
        raise FilterError(errno.EINVAL, self._text, identifier, column)

    # -- the kinds of values -----------------------------------------------------------------------

    def _function(self, field: Field, operator: str) -> Node:
        """``ip.function == vfs_read``: an address within it."""
        if field.size != 8:
            self._refuse("ILLEGAL_FIELD_OP")
        if operator not in ("==", "!="):
            self._refuse("INVALID_OP")
        start, place = self.at, ""
        if self._text[start : start + 1].isdigit():
            number = self._digits(start)
            address = kstrtoull(number)
            if address is None:
                self._refuse("INVALID_VALUE")
            found = self._facts.function(address)
        else:
            while self.at < len(self._text) and self._text[self.at] not in SPACE:
                self.at += 1
            place = self._text[start : self.at]
            found = self._facts.function(place)
        if found is None:
            self._refuse("NO_FUNCTION")
        node = InFunction(field, *found)
        return Not(node) if operator == "!=" else node

    def _digits(self, start: int) -> str:
        """What may be a number, from ``start`` to where letters and digits end."""
        while self.at < len(self._text) and _is_word(self._text[self.at], underscore=False):
            self.at += 1
        if self.at - start >= _MAX_NUMBER:
            self._refuse("OPERAND_TOO_LONG")
        return self._text[start : self.at]

    def _cpus(self, field: Field, operator: str) -> Node:
        """``CPUS{0-3}``."""
        if field.kind not in _TOUCHING or operator not in ("==", "!=", "&"):
            self._refuse("ILLEGAL_FIELD_OP", self.at - len(_CPUS))
        self.at += 1
        if self._text[self.at - 1 : self.at] != "{":
            self._refuse("MISSING_BRACE_OPEN")
        start = self.at
        end = self._text.find("}", start)
        self.at = len(self._text) if end < 0 else end
        if end < 0:
            self._refuse("MISSING_BRACE_CLOSE")
        cpus = cpu_list(self._text[start:end], self._facts.cpu_bits) if start < end else None
        if not cpus:
            self._refuse("INVALID_CPULIST")
        self.at += 1
        if len(cpus) > 1:
            return CpuSet(None if field.kind is FieldKind.CPU else field, operator, cpus)
        (cpu,) = cpus
        return self._against(field, "==" if operator == "&" else operator, cpu, signed=False)

    def _string(self, field: Field, operator: str) -> Node:
        if operator not in ("==", "!=", "~"):
            self._refuse("ILLEGAL_FIELD_OP")
        if not field.is_string:
            self._refuse("EXPECT_DIGIT")
        start = self.at + 1
        end = self._text.find(self._text[self.at], start)
        self.at = len(self._text) if end < 0 else end
        if end < 0:
            self._refuse("MISSING_QUOTE")
        if end - start >= _MAX_TEXT:
            self._refuse("OPERAND_TOO_LONG")
        self.at += 1
        text = self._text[start:end].encode("latin-1")
        negated, pattern = pattern_of(text) if operator == "~" else (False, literal(text))
        node = Like(field, pattern)
        return Not(node) if negated or operator == "!=" else node

    def _number(self, field: Field, operator: str) -> Node:
        if field.is_string:
            self._refuse("EXPECT_STRING")
        if operator == "~":
            self._refuse("ILLEGAL_FIELD_OP")
        start = self.at
        self._skip("-")
        number = (kstrtoll if field.signed else kstrtoull)(self._digits(start))
        if number is None:
            self._refuse("ILLEGAL_INTVAL", start)
        return self._against(field, operator, number, signed=field.signed)

    def _against(self, field: Field, operator: str, number: int, *, signed: bool) -> Node:
        """A field against a number."""
        if field.kind is FieldKind.CPU:
            return CpuNumber(operator, number)
        if field.size not in _SIZES:
            return Never()
        return Number(field, operator, number & MASK64, signed)


def _is_word(character: str, *, underscore: bool = True) -> bool:
    """The kernel's ``isalnum()``, whose letters are those of Latin-1."""
    if character == "_":
        return underscore
    return character.isalnum() and not (character > "\x7f" and character < "\xc0")


def pattern_of(text: bytes) -> tuple[bool, Pattern]:
    """What ``~`` looks for (``filter_parse_regex()``), and whether for its contrary."""
    negated = text.startswith(b"!")
    text = text[negated:]
    if text[:1].isdigit():
        return negated, literal(text)
    if any(byte in b"[?\\" for byte in text) or b"*" in text[1:-1]:
        return negated, glob(text)
    before = text.startswith(b"*")
    behind = text.endswith(b"*") and len(text) > 1
    return negated, literal(text[before : len(text) - behind], before=before, behind=behind)
