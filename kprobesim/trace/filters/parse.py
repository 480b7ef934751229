"""``parse_filter``: the text of a filter as a tree, or the kernel's refusal.

kernel/trace/trace_events_filter.c: ``calc_stack()`` first counts parentheses, ``predicate_parse()``
then reads comparisons, ``&&``, ``||``, ``!`` and parentheses.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from functools import reduce

from kprobesim.trace.filters.comparison import SPACE, Comparisons
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.facts import FilterFacts
from kprobesim.trace.filters.field import Fields
from kprobesim.trace.filters.nodes import And, Node, Not, Or
from kprobesim.trace.filters.versions import column_bits, refuses_dangling

__all__ = ["parse_filter"]


def parse_filter(text: str, fields: Fields, facts: FilterFacts) -> Node:
    """What a filter says.

    Args:
        text: The filter, as it was written, without white space behind it.
        fields: The event's.
        facts: The kernel.

    Raises:
        FilterError: The kernel refuses it.
    """
    latin = text.encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        _check_parentheses(latin)
        return _Expression(latin, fields, facts).read()
    except FilterError as error:
        raise FilterError(
            error.errno or errno.EINVAL,
            text,
            error.id,
            error.column,
            logged_bits=column_bits(facts.version),
        ) from None


def _check_parentheses(text: str) -> None:
    """Refuse quotes and parentheses that do not fit, as ``calc_stack()`` does."""
    opened: list[int] = []
    quote, last_quote = "", 0
    has_terms = False
    for at, character in enumerate(text):
        if character in SPACE:
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote, last_quote = character, at
            has_terms = True
        elif character == "(":
            opened.append(at)
        elif character == ")":
            if not opened:
                raise FilterError(errno.EPERM, text, "TOO_MANY_CLOSE", at)
            opened.pop()
        elif character not in "&|" or text[at + 1 : at + 2] != character:
            has_terms = True
    if quote:
        raise FilterError(errno.ESRCH, text, "MISSING_QUOTE", last_quote)
    if opened:
        raise FilterError(errno.ENOENT, text, "TOO_MANY_OPEN", opened[-1])
    if not has_terms:
        raise FilterError(errno.EINVAL, text)


@dataclass
class _Frame:
    """What has been read within one pair of parentheses.

    Attributes:
        negated: Whether a ``!`` stands before it.
        alternatives: What ``||`` joins, but for the last one;
        factors: of that, what ``&&`` joins.
    """

    negated: bool = False
    alternatives: list[Node] = field(default_factory=list)
    factors: list[Node] = field(default_factory=list)

    def end_alternative(self) -> None:
        """A ``||`` has come."""
        self.alternatives.append(reduce(And, self.factors))
        self.factors = []

    def whole(self) -> Node:
        """All of it."""
        self.end_alternative()
        found = reduce(Or, self.alternatives)
        return Not(found) if self.negated else found


class _Expression:
    """Reads one filter."""

    def __init__(self, text: str, fields: Fields, facts: FilterFacts) -> None:
        self._text = text
        self._comparisons = Comparisons(text, fields, facts)
        self._version = facts.version
        self._frames = [_Frame()]
        self._at = 0

    def read(self) -> Node:
        """All of it."""
        negated = False
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in SPACE:
                self._at += 1
            elif character == "(":
                self._frames.append(_Frame(negated))
                negated = False
                self._at += 1
            elif character == "!" and self._text[self._at + 1 : self._at + 2] not in ("=", "~"):
                negated = not negated
                self._at += 1
            else:
                self._comparisons.at = self._at
                node = self._comparisons.read()
                self._at = self._comparisons.at
                self._frames[-1].factors.append(Not(node) if negated else node)
                negated = False
                if self._join():
                    return self._frames[0].whole()
        return self._incomplete()

    def _join(self) -> bool:
        """Read what stands behind a comparison, up to the next one; whether the text ends."""
        while True:
            at, character = self._at, self._text[self._at : self._at + 1]
            if not character:
                return self._closed()
            self._at += 1
            if character in SPACE:
                continue
            if character in "&|" and self._text[self._at : self._at + 1] == character:
                self._at += 1
                if character == "|":
                    self._frames[-1].end_alternative()
                return False
            if character != ")":
                raise FilterError(errno.EPERM, self._text, "TOO_MANY_PREDS", at)
            if len(self._frames) == 1:
                raise FilterError(errno.EPERM, self._text, "TOO_MANY_CLOSE", self._at)
            inner = self._frames.pop()
            self._frames[-1].factors.append(inner.whole())

    def _closed(self) -> bool:
        if len(self._frames) > 1:
            raise FilterError(errno.EPERM, self._text, "TOO_MANY_OPEN", len(self._text) + 1)
        return True

    def _incomplete(self) -> Node:
        """The text ends where a comparison was expected: older kernels take what came before."""
        if len(self._frames) > 1:
            raise FilterError(errno.EPERM, self._text, "TOO_MANY_OPEN", len(self._text))
        frame, end = self._frames[0], len(self._text)
        if not frame.alternatives and not frame.factors:
            raise FilterError(errno.EINVAL, self._text, "NO_FILTER", end)
        if refuses_dangling(self._version):
            raise FilterError(errno.EINVAL, self._text, "INVALID_FILTER", end)
        if frame.factors and frame.alternatives:
            raise FilterError(errno.EINVAL, self._text)
        if not frame.factors:
            frame.factors.append(frame.alternatives.pop())
        return frame.whole()
