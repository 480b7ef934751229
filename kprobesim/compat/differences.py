"""Signatures that differ from kernel to kernel: a probe that reads arguments suits only some.

A source that reads ``arg1`` says nothing of what it is. It was written for some kernel; where the
functions of the kernels that are asked differ, those that differ from most are told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from kprobesim.compat.finding import Answer, Finding
from kprobesim.compat.kinds import Kind, Level

__all__ = ["compared"]

_NAME = re.compile(r"\w+$")
_FUNCTION = re.compile(r".*?\(\*+(\w*)\).*")


def compared(row: Sequence[Answer]) -> list[Answer]:
    """The answers to one probe, with what their kernels' prototypes tell against each other."""
    return _by_result(_by_parameters(row))


def _by_result(row: list[Answer]) -> list[Answer]:
    """What return probes find: a number where a pointer was, for one."""
    known = [answer for answer in row if answer.result is not None]
    if len(known) < 2 or not row[0].wanted.returns:
        return row
    sorts = {id(answer): _sort_of(answer.result or "") for answer in known}
    usual, _ = Counter(sorts[id(answer)] for answer in reversed(known)).most_common(1)[0]
    example = next(answer for answer in reversed(known) if sorts[id(answer)] == usual)
    read = any(argument.returned for answer in row for argument in answer.read)
    told = []
    for answer in row:
        if sorts.get(id(answer), usual) != usual and answer.level is not Level.ERROR:
            text = f"{answer.wanted.target} returns {answer.result} here, and {example.result} on "
            text += example.kernel.label
            kind = Kind.ARGUMENT if read else Kind.SIGNATURE
            answer = answer.with_finding(Finding(kind, text, found_by="btf", certainty="likely"))
        told.append(answer)
    return told


def _sort_of(result: str) -> str:
    """Numbers are one sort of results; each struct that is pointed to is one."""
    kept = " ".join(result.replace("const ", "").split())
    return kept if kept == "void" or kept.endswith("*") else "a number"


def _by_parameters(row: Sequence[Answer]) -> list[Answer]:
    known = [answer for answer in row if answer.parameters is not None]
    read = _read(row) if row else None
    if len(known) < 2 or (row[0].wanted.returns and not read):
        return list(row)
    moved = len({len(answer.parameters or ()) for answer in known}) > 1
    taken = {id(answer): _types(answer, read, moved) for answer in known}
    usual, _ = Counter(taken[id(answer)] for answer in reversed(known)).most_common(1)[0]
    example = next(answer for answer in reversed(known) if taken[id(answer)] == usual)
    return [
        _told(answer, example, read) if taken.get(id(answer), usual) != usual else answer
        for answer in row
    ]


def _read(row: Sequence[Answer]) -> frozenset[int] | None:
    """The arguments that are read by their place alone; ``None``: nobody knows what is read."""
    arguments = {argument for answer in row for argument in answer.read}
    if not arguments:
        return None
    return frozenset(
        argument.ordinal
        for argument in arguments
        if argument.ordinal is not None and argument.type is None and not argument.returned
    )


def _types(answer: Answer, read: frozenset[int] | None, moved: bool) -> tuple[str, ...]:
    """What stands at the places that are read, named only if some may have ``moved``."""
    parameters = answer.parameters or ()
    numbers: Iterable[int] = range(len(parameters)) if read is None else sorted(read)
    return tuple(
        _type(parameters[number], moved) if number < len(parameters) else "" for number in numbers
    )


def _type(parameter: str, named: bool) -> str:
    """A parameter's type; numbers are one, for a kernel gives their types names of its own."""
    if "(*" in parameter:  # a function, which others give a name
        parameter = _FUNCTION.sub(r" \1", parameter, count=1)
    kept = _NAME.sub("", parameter).replace("const ", "").rstrip()
    if kept.endswith("*") or kept.startswith(("struct ", "union ", "enum ")):
        return kept
    return parameter.rpartition(" ")[2] if named else "a number"


def _told(answer: Answer, example: Answer, read: frozenset[int] | None) -> Answer:
    if answer.parameters is None or example.parameters is None or answer.level is Level.ERROR:
        return answer
    kind = Kind.SIGNATURE if read is None else Kind.ARGUMENT
    if any(finding.kind is kind for finding in answer.findings):
        return answer  # already told, and better
    here, there = (", ".join(one.parameters or ("void",)) for one in (answer, example))
    text = f"{answer.wanted.target} takes ({here}) here, and ({there}) on {example.kernel.label}"
    if read:
        text = f"{_texts(answer)} may be another argument: {text}"
    return answer.with_finding(Finding(kind, text, found_by="btf", certainty="likely"))


def _texts(answer: Answer) -> str:
    texts = (one.text for one in answer.read if one.type is None and not one.returned)
    return ", ".join(dict.fromkeys(texts))
