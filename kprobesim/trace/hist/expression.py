"""Fields of a hist trigger: a name with a modifier, a number, or what is computed of them.

kernel/trace/trace_events_hist.c: ``parse_expr()``, ``parse_atom()``, ``parse_field()``,
``create_hist_field()``.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from kprobesim.sizes import MASK64
from kprobesim.trace.filters.field import Field, FieldKind, Fields
from kprobesim.trace.filters.numbers import kstrtoull
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.hist_field import HistField, HistFlag
from kprobesim.trace.hist.reference import FindVariable, Reference, Variable
from kprobesim.trace.hist.versions import (
    LITTLE_STACKS,
    SINCE_BUCKETS,
    SINCE_COMM,
    SINCE_CONSTANTS,
    SINCE_NAMED_SCALES,
    SINCE_NAMES,
    SINCE_NOHITCOUNT,
    SINCE_PERCENT,
    SINCE_STACK_CHECK,
    SINCE_STACKTRACE,
    marks_variables,
    tells_widths,
)

__all__ = ["STRING_BYTES", "Expressions", "constant_of", "divided", "stack_depth"]

STRING_BYTES = 256
"""Of a text in a key (``MAX_FILTER_STR_VAL``)."""
_MOST_SUBEXPRESSIONS = 3
_SIZES = (1, 2, 4, 8)
_PLAIN = {
    "hex": HistFlag.HEX,
    "sym": HistFlag.SYM,
    "symXoffset": HistFlag.SYM_OFFSET,
    "syscall": HistFlag.SYSCALL,
    "log2": HistFlag.LOG2,
    "usecs": HistFlag.TIMESTAMP_USECS,
}
_OF_VALUES = {"percent": HistFlag.PERCENT, "graph": HistFlag.GRAPH}
_TIME = HistFlag.TIMESTAMP | HistFlag.TIMESTAMP_USECS
_SHIFT = 20  # HIST_DIV_SHIFT


def stack_depth(version: tuple[int, ...]) -> int:
    """Entries of a stack trace (``HIST_STACKTRACE_DEPTH``)."""
    return 31 if version >= LITTLE_STACKS else 16


class Expressions:
    """Reads the fields of one trigger.

    Attributes:
        uses_time: Whether one of them is the time.
        logged: Errors that did not end it.
        references: The variables that are named.

    Args:
        fields: Of the event.
        version: The kernel's.
        variables: The texts that the trigger's own variables stand for.
        find: Finds the variables of other triggers.
    """

    def __init__(
        self,
        fields: Fields,
        version: tuple[int, ...],
        variables: Mapping[str, str],
        find: FindVariable,
    ) -> None:
        self._fields, self._version, self._variables = fields, version, variables
        self._find = find
        self._subexpressions = 0
        self.references: list[Reference] = []
        self.uses_time = False
        self.logged: list[LogEntry] = []

    def read(self, text: str, flags: HistFlag, variable: str = "") -> HistField:
        """What ``text`` says; raises :class:`HistError`."""
        self._subexpressions = 0
        return replace(self._expression(text, flags), variable=variable)

    def key(self, text: str) -> HistField:
        """The key that ``text`` says; raises :class:`HistError`."""
        if text == "stacktrace":
            return self._create(None, HistFlag.KEY | HistFlag.STACKTRACE)
        found = self.read(text, HistFlag.KEY)
        if _refers(found):
            self._refuse("INVALID_REF_KEY", text)
        return found

    def has_field(self, name: str) -> bool:
        """Whether there is something of that name to be read, perhaps with a modifier."""
        plain = name.partition(".")[0]
        return plain.startswith("common_") or self._fields.find(plain) is not None

    # -- references to variables -------------------------------------------------------------------

    def find(self, group: str | None, event: str | None, name: str) -> Variable | None:
        """The variable of another trigger; ``None``: there is none.

        Raises:
            HistError: It may be one of several.
        """
        try:
            return self._find(group, event, name)
        except HistError as error:
            self.logged += error.logged
            return None

    def refer(self, variable: Variable, *, once: bool = False) -> int:
        """The number of the reference to ``variable``, of which there is one."""
        for number, known in enumerate(self.references):
            same = known.variable.histogram is variable.histogram
            if same and known.variable.name == variable.name:
                known.once = known.once or once
                return number
        self.references.append(Reference(variable, once))
        return len(self.references) - 1

    def _qualified(self, group: str, event: str | None, name: str) -> str:
        dollar = "$" if marks_variables(self._version) else ""
        return f"{group}.{event}.{dollar}{name}"

    def _reference(self, parts: list[str], flags: HistFlag) -> HistField | None:
        """``$NAME`` or ``GROUP.EVENT.$NAME``; ``None``: there is no such variable."""
        group, event = parts[:2] if len(parts) == 3 else (None, None)
        name = parts[-1][1:]
        variable = self.find(group, event, name)
        if variable is None:
            self.logged.append(LogEntry("VAR_NOT_FOUND", name))
            return None
        field = variable.field
        return HistField(
            flags | HistFlag.VAR_REF | field.flags & _TIME,
            size=field.size,
            signed=field.signed,
            label=name if group is None else self._qualified(group, event, name),
            reference=self.refer(variable),
        )

    def _refuse(self, identifier: str, part: str, number: int = errno.EINVAL) -> NoReturn:
        raise HistError(number, *self.logged, LogEntry(identifier, part))

    # -- expressions -------------------------------------------------------------------------------

    def _operator(self, text: str) -> tuple[str, int]:
        """The operator at the root, and where it is; ``""``: there is none."""
        if self._version < SINCE_CONSTANTS:
            places = [at for at, character in enumerate(text) if character in "+-"]
            if not places:
                return "", 0
            return ("neg" if text[0] == "-" else text[places[0]]), places[0]
        minus, plus = text.rfind("-"), text.rfind("+")
        if minus == 0:
            return "neg", 0
        if minus > 0 or plus >= 0:
            return ("+", plus) if plus > minus else ("-", minus)
        divide, times = text.rfind("/"), text.rfind("*")
        if times > divide:
            return "*", times
        return ("/", divide) if divide >= 0 else ("", 0)

    def _expression(self, text: str, flags: HistFlag) -> HistField:
        if self._subexpressions > _MOST_SUBEXPRESSIONS:
            self._refuse("TOO_MANY_SUBEXPR", text)
        operator, at = self._operator(text)
        if not operator:
            return self._atom(text, flags)
        self._subexpressions += 1
        if operator == "neg":
            return self._negated(text, flags)
        left_text, right_text = text[:at], text[at + 1 :]
        if not left_text or not right_text:
            raise HistError(errno.EINVAL, *self.logged)
        left = self._operand(left_text)
        right = self._operand(right_text)
        for side in (left, right):
            if side.has(HistFlag.VAR_REF):
                self.references[side.reference].once = True
        if left.has(HistFlag.TIMESTAMP_USECS) != right.has(HistFlag.TIMESTAMP_USECS):
            self._refuse("TIMESTAMP_MISMATCH", "")
        constant = left.has(HistFlag.CONST) and right.has(HistFlag.CONST)
        if operator == "/" and right.has(HistFlag.CONST) and not right.number:
            self._refuse("DIVISION_BY_ZERO", right_text, errno.EDOM)
        flags |= left.flags & _TIME | (HistFlag.CONST if constant else HistFlag.EXPR)
        if constant:
            number = constant_of(operator, left.number, right.number)
            return HistField(flags, number=number)
        widths = tells_widths(self._version)
        texts = [side.expression_text(widths=widths) for side in (left, right)]
        label = operator.join(texts)
        return HistField(
            flags,
            size=left.size,
            signed=left.signed,
            label=label,
            operator=operator,
            operands=(left, right),
        )

    def _operand(self, text: str) -> HistField:
        found = self._expression(text, HistFlag(0))
        if found.has(HistFlag.STRING):
            self._refuse("INVALID_STR_OPERAND", text)
        return found

    def _negated(self, text: str, flags: HistFlag) -> HistField:
        """``-(...)``."""
        if self._subexpressions > _MOST_SUBEXPRESSIONS:
            self._refuse("TOO_MANY_SUBEXPR", text)
        inner = text[1:]
        if "(" not in inner:
            raise HistError(errno.EINVAL, *self.logged)
        inner = inner[1:]
        end = inner.rfind(")")
        if end < 0:
            raise HistError(errno.EINVAL, *self.logged)
        if self._version >= SINCE_CONSTANTS and inner[end + 1 :]:
            self._refuse("UNARY_MINUS_SUBEXPR", inner)
        of = self._operand(inner[:end])
        scaled = of.has(HistFlag.LOG2 | HistFlag.BUCKET)
        if scaled and self._version >= SINCE_NAMED_SCALES:
            raise HistError(errno.EINVAL, *self.logged)
        text = of.expression_text(widths=tells_widths(self._version))
        return HistField(
            flags | HistFlag.EXPR | of.flags & _TIME,
            size=of.size,
            signed=of.signed,
            label="" if scaled else f"-({text})",
            operator="neg",
            operands=(of,),
        )

    # -- what they are made of ---------------------------------------------------------------------

    def _atom(self, text: str, flags: HistFlag) -> HistField:
        if self._version >= SINCE_CONSTANTS and text[:1].isdigit():
            number = kstrtoull(text)
            if number is None:
                self._refuse("EXPECT_NUMBER", text)
            return HistField(flags | HistFlag.CONST, number=number)
        parts = text.split(".", 2)
        qualified = len(parts) == 3
        text = parts[2] if qualified else text
        if text.startswith("$") and len(text) > 1:
            own = None if qualified else self._variables.get(text[1:])
            if own is None or self._operator(own)[0] or own.startswith("$"):
                found = self._reference(parts if qualified else [text], flags)
                if found is not None:
                    return found
            else:
                text = own
        return self._field(text, flags)

    def _field(self, text: str, flags: HistFlag) -> HistField:
        name, dot, modifier = text.partition(".")
        buckets = 0
        if dot:
            flags, buckets = self._modified(name, modifier, flags)
        field: Field | None = None
        if name == "common_timestamp":
            flags |= HistFlag.TIMESTAMP
            self.uses_time = True
        elif name == "common_stacktrace" and self._version >= SINCE_STACKTRACE:
            flags |= HistFlag.STACKTRACE
        elif name == "common_cpu":
            flags |= HistFlag.CPU
        elif name == "common_comm" and self._version >= SINCE_COMM:
            flags |= HistFlag.COMM | HistFlag.STRING
        elif name == "hitcount" and self._version >= SINCE_NOHITCOUNT:
            flags |= HistFlag.HITCOUNT
        else:
            field = self._fields.find(name)
            if field is None or not field.size:
                flags |= self._generic(name, field)
                field = None if flags & HistFlag.STACKTRACE else field
        if modifier == "stacktrace" and self._version >= SINCE_STACK_CHECK:
            self._refuse("BAD_FIELD_MODIFIER", text)
        return replace(self._create(field, flags), buckets=buckets)

    def _modified(self, name: str, modifier: str, flags: HistFlag) -> tuple[HistFlag, int]:
        """What a modifier adds."""
        plain = _PLAIN.get(modifier)
        if plain is not None:
            return flags | plain, 0
        if modifier == "execname" and name == "common_pid":
            return flags | HistFlag.EXECNAME, 0
        if modifier == "stacktrace" and self._version >= SINCE_STACKTRACE:
            return flags | HistFlag.STACKTRACE, 0
        if modifier.startswith("bucket") and self._version >= SINCE_BUCKETS:
            rest = modifier.removeprefix("bucket").removeprefix("s")
            width = kstrtoull(rest.removeprefix("=")) if rest.startswith("=") else None
            if not width:
                self._refuse("BAD_FIELD_MODIFIER", rest.removeprefix("="))
            return flags | HistFlag.BUCKET, width
        for word, flag in _OF_VALUES.items():
            of_value = not flags & (HistFlag.VAR | HistFlag.KEY)
            if modifier.startswith(word) and self._version >= SINCE_PERCENT and of_value:
                return flags | flag, 0
        return self._refuse("BAD_FIELD_MODIFIER", modifier)

    def _generic(self, name: str, field: Field | None) -> HistFlag:
        """What is in no record, by the names of older kernels."""
        kind = None if field is None else field.kind
        if kind is FieldKind.CPU:
            return HistFlag.CPU
        if kind is FieldKind.STACKTRACE:
            return HistFlag.STACKTRACE
        if kind is FieldKind.COMM and self._version >= SINCE_COMM:
            return HistFlag.COMM | HistFlag.STRING
        return self._refuse("FIELD_NOT_FOUND", name)

    def _create(self, field: Field | None, flags: HistFlag) -> HistField:
        """The field for an event's field, or for what every event has."""
        names = self._version >= SINCE_NAMES
        if flags & HistFlag.HITCOUNT:
            return HistField(flags, label="hitcount" if names else "")
        if flags & HistFlag.STACKTRACE:
            size = 8 * stack_depth(self._version)
            return HistField(flags, field, size, label="common_stacktrace" if names else "")
        if flags & HistFlag.TIMESTAMP:
            return HistField(flags, label="common_timestamp")
        if flags & HistFlag.CPU:
            return HistField(flags, field, size=4, label="common_cpu")
        if flags & HistFlag.COMM:
            return HistField(flags, field, size=STRING_BYTES, label="common_comm")
        assert field is not None
        if field.is_string and field.kind is not FieldKind.PTR_STRING:
            static = field.kind is FieldKind.STATIC_STRING
            return HistField(flags | HistFlag.STRING, field, field.size if static else STRING_BYTES)
        if field.size not in _SIZES:
            raise HistError(errno.ENOMEM, *self.logged)
        return HistField(flags, field, field.size, field.signed)


def _refers(field: HistField) -> bool:
    """Whether a variable is in it."""
    return field.has(HistFlag.VAR_REF) or any(map(_refers, field.operands))


def constant_of(operator: str, left: int, right: int) -> int:
    """What two constants make: 64 bits."""
    if operator == "/":
        return divided(left, right)
    made = {"+": left + right, "-": left - right, "*": left * right}
    return made[operator] & MASK64


def divided(left: int, right: int) -> int:
    """A division by a constant: small ones are a multiplication, which rounds otherwise."""
    if right & (right - 1) and right <= 1 << _SHIFT and left < 1 << _SHIFT:
        return left * ((1 << _SHIFT) // right) + (1 << _SHIFT) - 1 >> _SHIFT
    return left // right
