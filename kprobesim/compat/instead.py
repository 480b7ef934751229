"""What might be meant by a name that is not there."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice

from kprobesim.compat.history import EVENTS, HISTORY, RESPELT, VARIANTS, Spelling, Step
from kprobesim.compat.kinds import Kind
from kprobesim.compat.names import FunctionNames

__all__ = ["became", "nearest", "same_events", "variants"]

_MOST = 3
_ALIKE = 0.7
_ENOUGH, _SHORTLIST = 20, 200
#: In front of functions, and what is made of each tracepoint.
_PADDING = (
    "__pfx_",
    "__cfi_",
    "__SC",
    "__probestub_",
    "__bpf_trace_",
    "__traceiter_",
    "perf_trace_",
)


def nearest(wanted: str, names: Collection[str] | FunctionNames, count: int = _MOST) -> list[str]:
    """Up to ``count`` of ``names`` that resemble ``wanted``, nearest first.

    Names of one kernel are many, so only those are compared that begin or end with the same words.
    """
    text = names.text if isinstance(names, FunctionNames) else "\n" + "\n".join(names) + "\n"
    found: set[str] = set()
    for words, at_end in _parts(wanted):
        if len(found) < _ENOUGH:
            found.update(islice(_with(text, words, at_end), _SHORTLIST))
    alike = {
        name: SequenceMatcher(None, wanted, name).ratio()
        for name in found
        if name != wanted and "." not in name and not name.startswith(_PADDING)
    }
    best = sorted((name for name in alike if alike[name] >= _ALIKE), key=lambda n: (-alike[n], n))
    return [name for name in best if name in names][:count]


def _parts(wanted: str) -> Iterator[tuple[str, bool]]:
    """What names like it begin with, or end with: the same words but one, then fewer."""
    words = wanted.strip("_").split("_")
    for left in range(1, len(words) // 2 + 1):
        yield "_".join(words[: len(words) - left]), False
        yield "_".join(words[left:]), True


def _with(text: str, words: str, at_end: bool) -> Iterator[str]:
    """The lines of ``text`` that begin or end with ``words``; underscores before them do not count.

    Only the words themselves are searched for: a pattern would be tried on each line.
    """
    wanted = words + "\n" if at_end else words
    at = text.find(wanted)
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        end = text.index("\n", at)
        if at_end or not text[start:at].strip("_"):
            yield text[start:end]
        at = text.find(wanted, end)


def became(wanted: str, names: Container[str]) -> Step | None:
    """What ``wanted`` became in a kernel with functions ``names``, as the history of Linux has it.

    Also what it was: a name of now that an older kernel does not have yet.
    """
    for step in HISTORY.get(wanted, ()):
        present = tuple(name for name in step.names if name in names)
        if present:
            return Step(step.kind, present[:_MOST])
    older = tuple(
        old
        for old, steps in HISTORY.items()
        if old in names
        and any(step.kind is Kind.RENAMED and wanted in step.names for step in steps)
    )
    found = tuple(dict.fromkeys((*older, *_respelt(wanted, names, RESPELT))))
    return Step(Kind.RENAMED, found[:_MOST]) if found else None


def same_events(wanted: str, events: Collection[str]) -> tuple[str, ...]:
    """The first of ``events`` that tells the same as the function ``wanted``."""
    found = (event for event in EVENTS.get(wanted, ()) if event in events)
    return tuple(f"tracepoint:{event}" for event in islice(found, 1))


def variants(wanted: str, names: Container[str]) -> list[str]:
    """Names that differ from ``wanted`` as a function does from what it calls."""
    return _respelt(wanted, names, VARIANTS)[:_MOST]


def _respelt(wanted: str, names: Container[str], patterns: Sequence[Spelling]) -> list[str]:
    respelt = (pattern.sub(replacement, wanted, count=1) for pattern, replacement in patterns)
    return [name for name in dict.fromkeys(respelt) if name != wanted and name in names]
