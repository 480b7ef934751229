"""YAML with line numbers, whose aliases and depth are bounded before anything is built of it.

Nothing is constructed: nodes are looked at where they are, so an alias costs a reference, however
much it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

__all__ = ["Value", "YamlError", "documents"]

_MOST_ALIASES = 1000
_DEEPEST = 50
_MOST_MERGED = 32  # mappings that one takes over by <<, one in another
_MARK = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """A document that cannot be read. ``line`` is where, from 1."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        self.problem = problem
        super().__init__(problem)


@dataclass(frozen=True)
class Value:
    """One value of a document: a mapping, a list, a scalar, or nothing (``node`` is ``None``)."""

    node: yaml.Node | None
    before: int = 0

    def __bool__(self) -> bool:
        return self.node is not None

    @property
    def line(self) -> int:
        """The line in the file, from 1."""
        return self.before + (self.node.start_mark.line if self.node is not None else 0) + 1

    def __getitem__(self, key: str) -> Value:
        """What a mapping has under ``key``, nothing if it has none or this is no mapping."""
        return Value(_member(self.node, key, _MOST_MERGED), self.before)

    def __iter__(self) -> Iterator[Value]:
        """The elements of a list; of anything else there are none."""
        if isinstance(self.node, yaml.SequenceNode):
            for one in self.node.value:
                yield Value(one, self.before)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def text(self) -> str:
        """A scalar's text; empty for anything else, and for null."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag.endswith(":null"):
            return ""
        return str(self.node.value).strip()

    @property
    def is_true(self) -> bool:
        """Whether it is the scalar that means yes."""
        return self.text.lower() in ("true", "yes", "on")

    @property
    def number(self) -> int | None:
        """A scalar that is a small whole number; else ``None``."""
        return int(self.text) if re.fullmatch(r"[0-9]{1,9}", self.text) else None


def _member(node: yaml.Node | None, key: str, left: int) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[yaml.Node] = []
    for name, value in node.value:
        if isinstance(name, yaml.ScalarNode):
            if name.value == key:
                return value  # type: ignore[no-any-return]
            if name.tag.endswith(":merge"):
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    for one in merged[:left]:
        found = _member(one, key, left // 2)
        if found is not None:
            return found
    return None


def documents(text: str) -> Iterator[Value | YamlError]:
    """Each document of a file: its root, or what is wrong with it and not with the others."""
    starts = [0, *(found.start() for found in _MARK.finditer(text))]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        before = text.count("\n", 0, start)
        part = text[start:end]
        if part.strip():
            try:
                root = _compose(part)
            except yaml.YAMLError as error:
                yield _told(error, before)
            except _TooMuch as error:
                yield YamlError(before + error.line, str(error))
            else:
                if root is not None:
                    yield Value(root, before)


class _TooMuch(Exception):
    """More than anybody writes."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        super().__init__(text)


def _compose(text: str) -> yaml.Node | None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _TooMuch(line, f"is nested more than {_DEEPEST} deep: no policy is")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if aliases > _MOST_ALIASES:
                raise _TooMuch(line, f"has more than {_MOST_ALIASES} aliases: no policy has")
    return yaml.compose(text, Loader=_LOADER)


def _told(error: yaml.YAMLError, before: int) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or str(error).partition("\n")[0]
    if "{{" in str(getattr(mark, "buffer", "") or ""):
        words = f"{words} (a template: render it first)"
    line = mark.line if mark is not None else 0
    return YamlError(before + line + 1, f"is no YAML: {words}")
