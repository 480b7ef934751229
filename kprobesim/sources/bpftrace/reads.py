"""What a body reads of the kernel: arguments, return values, members of structs.

Types are followed through casts, scratch variables and maps: of ``$f = (struct file *)arg0`` and,
later, ``$f->f_path.dentry`` it is known that argument 0 is taken for a ``struct file``, and that
its member ``f_path.dentry`` is read.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kprobesim.sources.bpftrace.tokens import Token
from kprobesim.sources.wanted import WantedArgument

__all__ = ["Reads", "overrides"]

_ARGUMENT = re.compile(r"arg(\d{1,3})")
_INTEGER = re.compile(
    r"u?int(8|16|32|64)?(_t)?|[us](8|16|32|64)|bool|char|short|long|unsigned|signed|void|string"
    r"|size_t|ssize_t|__[us](8|16|32|64)"
)
_DEEPEST = 64
_MOST_VALUES = 256  # of one clause


@dataclass(frozen=True)
class _Value:
    """Where a value comes from, and what it is taken for.

    ``known`` is false for a computed one; ``stored`` is true for one that a map has kept, and that
    was told of when it was read.
    """

    known: bool = True
    stored: bool = False
    ordinal: int | None = None
    name: str | None = None
    symbol: str | None = None
    returned: bool = False
    type: str | None = None
    members: tuple[str, ...] = ()

    def cast(self, kind: str) -> _Value:
        """The same value taken for a pointer to ``kind``.

        A second cast, as of a ``struct sock`` to the ``struct tcp_sock`` that begins with it, says
        nothing of what the argument is.
        """
        if self.members or not self.known or self.type is not None:
            return _Value(type=kind)
        return dataclasses.replace(self, stored=False, type=kind)


_COMPUTED = _Value(known=False)


class Reads:
    """Goes through the bodies of one script; maps keep their types from clause to clause."""

    def __init__(self, text: str, own_types: set[str]) -> None:
        self._text = text
        self._own = own_types
        self._maps: dict[str, _Value] = {}
        self._words: Sequence[Token] = ()
        self._variables: dict[str, _Value] = {}
        self._found: dict[_Value, WantedArgument] = {}
        self._closing: dict[int, int] = {}
        self._failed: set[int] = set()
        self._context: str | None = None

    def of(self, words: Sequence[Token], context: str | None = None) -> tuple[WantedArgument, ...]:
        """What a clause's words read; ``context`` is the struct that ``ctx`` points to."""
        self._words, self._context = words, context
        self._closing = _closing(words)
        self._failed = set()
        self._variables, self._found = {}, {}
        self._scan(0, len(words), 0)
        return tuple(self._found.values())

    def _is(self, at: int, *texts: str) -> bool:
        return at < len(self._words) and self._words[at].text in texts

    def _scan(self, at: int, end: int, depth: int) -> None:
        while at < end:
            target = self._assigned(at)
            if target is not None and depth < _DEEPEST:
                name, after = target
                if name.startswith("@"):
                    self._scan(at + 1, after - 1, depth + 1)  # the map's keys
                value, behind = self._value(after, depth + 1)
                if self._is(behind, ";", "}"):
                    kept = self._maps if name.startswith("@") else self._variables
                    kept[name] = value
                if behind > after:
                    self._record(value, after, behind)
                at = max(behind, after)
                continue
            value, behind = self._value(at, depth)
            self._record(value, at, behind)
            at = max(behind, at + 1)

    def _assigned(self, at: int) -> tuple[str, int] | None:
        """The variable or map that is given a value here, and where the value begins."""
        word = self._words[at]
        if word.kind != "variable":
            return None
        after = at + 1
        if word.text.startswith("@") and self._is(after, "["):
            after = self._closed(after)
        return (word.text, after + 1) if self._is(after, "=") else None

    def _closed(self, at: int) -> int:
        """The place behind the bracket that closes the one at ``at``."""
        return self._closing.get(at, len(self._words) - 1) + 1

    def _record(self, value: _Value, start: int, end: int) -> None:
        if not value.known or value.stored or value == _Value() or len(self._found) >= _MOST_VALUES:
            return
        if value.type is not None and value.type.partition(" ")[2] in self._own:
            value = dataclasses.replace(value, type=None, members=())
            if value == _Value():
                return
        if value not in self._found:
            while self._is(start, "(") and self._closed(start) == end and end - start > 2:
                start, end = start + 1, end - 1
            text = self._text[self._words[start].at : self._words[end - 1].end]
            attributes = dataclasses.asdict(value)
            del attributes["known"], attributes["stored"]
            self._found[value] = WantedArgument(" ".join(text.split())[:200], **attributes)

    # -- values --------------------------------------------------------------------------------

    def _value(self, at: int, depth: int) -> tuple[_Value, int]:
        """The value that begins at ``at``, and the place behind it (``at`` if none begins)."""
        if at >= len(self._words) or depth > _DEEPEST:
            return _COMPUTED, at
        word = self._words[at]
        if word.text == "(":
            if at in self._failed:
                return _COMPUTED, at
            value, behind = self._in_brackets(at, depth)
            if behind == at:
                self._failed.add(at)  # from without and from within it is the same
            return value, behind
        if word.kind == "variable":
            return self._variable(word.text, at, depth)
        if word.kind == "name":
            return self._name(word.text, at, depth)
        return _COMPUTED, at

    def _in_brackets(self, at: int, depth: int) -> tuple[_Value, int]:
        cast = self._type(at + 1)
        if cast is not None and self._is(cast[1], ")"):
            kind, closing = cast
            inner, behind = self._value(closing + 1, depth + 1)
            if behind == closing + 1:
                return _COMPUTED, at
            if kind is None:
                return inner, behind
            if inner.members:
                self._record(inner, closing + 1, behind)
            return inner.cast(kind), behind
        inner, behind = self._value(at + 1, depth + 1)
        if behind > at + 1 and self._is(behind, ")"):
            return self._members(inner, behind + 1, depth)
        return _COMPUTED, at

    def _type(self, at: int) -> tuple[str | None, int] | None:
        """A type's name (``None`` for numbers) and the place behind it; ``None`` if none is."""
        names = []
        while at < len(self._words) and self._words[at].kind == "name":
            names.append(self._words[at].text)
            at += 1
        names = [name for name in names if name not in ("const", "volatile", "__user")]
        stars = at
        while self._is(at, "*"):
            at += 1
        if not names:
            return None
        if names[0] in ("struct", "union") and len(names) == 2:
            return " ".join(names), at
        if all(_INTEGER.fullmatch(name) for name in names):
            return None, at
        if len(names) == 1 and at > stars:
            return names[0], at
        return (None, at) if names[0] == "enum" or names[0].endswith("_t") else None

    def _variable(self, name: str, at: int, depth: int) -> tuple[_Value, int]:
        behind = at + 1
        if name.startswith("@"):
            value = self._maps.get(name, _COMPUTED)
            if value.known and value.type is None:
                value = _COMPUTED  # another probe's argument
            elif value.known:
                value = _Value(stored=True, type=value.type, members=value.members)
            if self._is(behind, "["):
                closed = self._closed(behind)
                self._scan(behind + 1, closed - 1, depth + 1)
                behind = closed
        else:
            value = self._variables.get(name, _COMPUTED)
        return self._members(value, behind, depth)

    def _name(self, name: str, at: int, depth: int) -> tuple[_Value, int]:
        argument = _ARGUMENT.fullmatch(name)
        if argument is not None:
            return self._members(_Value(ordinal=int(argument[1])), at + 1, depth)
        if name == "args" and self._is(at + 1, ".", "->") and at + 2 < len(self._words):
            return self._members(_Value(name=self._words[at + 2].text), at + 3, depth)
        if name == "retval":
            return self._members(_Value(returned=True), at + 1, depth)
        if name == "curtask":
            return self._members(_Value(type="struct task_struct"), at + 1, depth)
        if name == "ctx" and self._context:
            return self._members(_Value(type=self._context), at + 1, depth)
        if name in ("kaddr", "offsetof", "sizeof") and self._is(at + 1, "("):
            return self._of_call(name, at)
        return _COMPUTED, at

    def _of_call(self, name: str, at: int) -> tuple[_Value, int]:
        behind = self._closed(at + 1)
        inner = self._words[at + 2 : behind - 1]
        if name == "kaddr":
            if len(inner) == 1 and inner[0].kind == "string":
                return _Value(symbol=inner[0].text.strip('"')), behind
            return _COMPUTED, at
        kind = self._type(at + 2)
        if kind is None or kind[0] is None:
            return _COMPUTED, at
        rest = self._words[kind[1] : behind - 1]
        members = tuple(word.text for word in rest if word.kind == "name")
        return _Value(type=kind[0], members=members), behind

    def _members(self, value: _Value, at: int, depth: int) -> tuple[_Value, int]:
        """``value`` with the members that are taken of it, through arrays and pointers."""
        members = list(value.members)
        while True:
            if self._is(at, "->", ".") and at + 1 < len(self._words):
                if self._words[at + 1].kind != "name":
                    return _COMPUTED, at + 2  # a part of a tuple
                members.append(self._words[at + 1].text)
                at += 2
            elif self._is(at, "["):
                closed = self._closed(at)
                self._scan(at + 1, closed - 1, depth + 1)
                at = closed
            else:
                stored = value.stored and len(members) == len(value.members)
                return dataclasses.replace(value, stored=stored, members=tuple(members)), at


def _closing(words: Sequence[Token]) -> dict[int, int]:
    """For each bracket that is closed, where."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for at, word in enumerate(words):
        if word.text in ("(", "["):
            opened.append(at)
        elif word.text in (")", "]") and opened:
            found[opened.pop()] = at
    return found


def overrides(words: Sequence[Token]) -> bool:
    """Whether a clause calls ``override()``, which changes the function's return value."""
    return any(one.text == "override" and two.text == "(" for one, two in itertools.pairwise(words))
