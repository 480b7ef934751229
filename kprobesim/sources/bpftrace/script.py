"""The clauses of a script: attach points, predicate, body; and its preamble."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from kprobesim.sources.bpftrace.tokens import Token, strip, tokens

__all__ = ["Clause", "Script", "parse_script"]

_WORD = re.compile(r"[A-Za-z_]\w*")
_BLANK = re.compile(r"\s*")
_IN_PROGRAMS = re.compile(r"(u|ur|U|uprobe|uretprobe|usdt|it|iter):")
_STRUCT = re.compile(r"(?:struct|union|enum)\s+([A-Za-z_]\w*)\s*\{")
_MISSING = re.compile(r"missing_probes\s*=\s*\"?(\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Clause:
    """Attach points with their places, and the words of the predicate and the body."""

    points: tuple[tuple[str, int], ...]
    words: tuple[Token, ...]


@dataclass
class Script:
    """A script, cut up.

    Attributes:
        text: The stripped text that all places refer to.
        clauses: In order.
        own_types: The tags of types that the script defines itself.
        missing: What is to happen when a probe cannot be attached: ``error``, ``warn``, ``ignore``.
        imports: The files that it imports, with their places.
        problems: What cannot be read, with its place.
    """

    text: str
    clauses: list[Clause] = field(default_factory=list)
    own_types: set[str] = field(default_factory=set)
    missing: str = "error"
    imports: list[tuple[str, int]] = field(default_factory=list)
    problems: list[tuple[str, int]] = field(default_factory=list)


def parse_script(source: str) -> Script:
    """Cut a script up. What cannot be read is told in ``problems``, and passed over."""
    script = Script(strip(source))
    words = tokens(script.text)
    _Parser(script, words).parse()
    return script


class _Parser:
    """Goes once through the words; attach points, which have no words, are read from the text."""

    def __init__(self, script: Script, words: list[Token]) -> None:
        self._script = script
        self._text = script.text
        self._words = words
        self._next = 0  # the word that comes next

    def parse(self) -> None:
        while self._next < len(self._words):
            word = self._words[self._next]
            if word.text in ("struct", "union", "enum"):
                self._definition()
            elif word.text == "typedef":
                self._to_semicolon()
            elif word.text == "config" and self._is(self._next + 1, "="):
                self._config()
            elif word.text == "import":
                self._import()
            elif word.text == "let":
                self._to_semicolon()
            elif word.text in ("macro", "fn") and self._kind(self._next + 1) == "name":
                self._block()
            elif word.text in (";", "}"):
                if word.text == "}":
                    self._problem("a } that closes nothing", word.at)
                self._next += 1
            else:
                self._clause()

    def _is(self, number: int, text: str) -> bool:
        return number < len(self._words) and self._words[number].text == text

    def _kind(self, number: int) -> str:
        return self._words[number].kind if number < len(self._words) else ""

    def _problem(self, text: str, at: int) -> None:
        self._script.problems.append((text, at))

    def _skip_to(self, at: int) -> None:
        while self._next < len(self._words) and self._words[self._next].at < at:
            self._next += 1

    # -- the preamble --------------------------------------------------------------------------

    def _definition(self) -> None:
        start = self._words[self._next].at
        self._block()
        end = self._words[self._next - 1].end
        self._script.own_types.update(_STRUCT.findall(self._text, start, end))
        if self._kind(self._next) == "name" and self._is(self._next + 1, ";"):
            self._next += 1  # struct x { ... } name;
        if self._is(self._next, ";"):
            self._next += 1

    def _to_semicolon(self) -> None:
        depth = 0
        while self._next < len(self._words):
            text = self._words[self._next].text
            depth += (text == "{") - (text == "}")
            self._next += 1
            if text == ";" and depth <= 0:
                return

    def _config(self) -> None:
        start = self._words[self._next].at
        self._block()
        found = _MISSING.search(self._text, start, self._words[self._next - 1].end)
        if found:
            self._script.missing = found[1].lower()

    def _import(self) -> None:
        if self._kind(self._next + 1) == "string":
            word = self._words[self._next + 1]
            self._script.imports.append((word.text.strip('"'), word.at))
        self._to_semicolon()

    def _block(self) -> tuple[int, int]:
        """Go behind the next block; the numbers of its first word and of the one behind it."""
        first = self._words[min(self._next, len(self._words) - 1)].at
        while self._next < len(self._words) and self._words[self._next].text != "{":
            self._next += 1
        start, depth = self._next, 0
        while self._next < len(self._words):
            text = self._words[self._next].text
            depth += (text == "{") - (text == "}")
            self._next += 1
            if not depth:
                return start, self._next
        if start == len(self._words):
            self._problem("a block in { } is missing", first)
        else:
            self._problem("this { is never closed", self._words[start].at)
        return start, self._next

    # -- a clause ------------------------------------------------------------------------------

    def _clause(self) -> None:
        at = self._words[self._next].at
        points = tuple(self._points())
        if not points:
            self._problem("this begins no probe", at)
            self._block()
            return
        predicate = self._next
        if not self._is(predicate, "/") and not self._is(predicate, "{"):
            self._problem(
                "an action in { } is missing, or a comma to the next attach point", points[-1][1]
            )
            self._script.clauses.append(Clause(points, ()))
            return
        start, end = self._block()
        if start > predicate and (start == predicate + 1 or not self._is(start - 1, "/")):
            self._problem("the predicate's second / is missing", self._words[predicate].at)
        self._script.clauses.append(Clause(points, tuple(self._words[predicate:end])))

    def _points(self) -> Iterator[tuple[str, int]]:
        """The attach points, as they are written, each with its place."""
        at = self._words[self._next].at
        while True:
            end = self._end_of_point(at)
            if end > at:
                yield self._text[at:end], at
            at = self._behind_blanks(end)
            if self._text[at : at + 1] != ",":
                break
            at = self._behind_blanks(at + 1)
            if self._text[at : at + 1] in ("/", "{"):
                break  # a comma too much is taken
        self._skip_to(at)

    def _behind_blanks(self, at: int) -> int:
        found = _BLANK.match(self._text, at)
        assert found is not None  # it matches nothing, too
        return found.end()

    def _end_of_point(self, at: int) -> int:
        """Where an attach point ends: at a blank, comma or brace; at a / unless it names a file."""
        has_files = _IN_PROGRAMS.match(self._text, at) is not None
        quoted = False
        while at < len(self._text):
            char = self._text[at]
            if quoted and char == "\\":
                at += 1
            elif char == '"':
                quoted = not quoted
            elif char == "\n" or (
                not quoted and (char in "{,}" or char.isspace() or (char == "/" and not has_files))
            ):
                break
            at += 1
        return min(at, len(self._text))
