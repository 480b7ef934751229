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


def compared(row: Sequence[Answer]) -> list[Answer]:
    """The answers to one probe, with what their kernels' prototypes tell against each other."""
    known = [answer for answer in row if answer.parameters is not None]
    read = _read(row) if row else None
    if len(known) < 2 or (row[0].wanted.returns and not read):
        return list(row)
    usual, _ = Counter(_types(answer, read) for answer in reversed(known)).most_common(1)[0]
    example = next(answer for answer in reversed(known) if _types(answer, read) == usual)
    return [_told(answer, example, usual, read) for answer in row]


def _read(row: Sequence[Answer]) -> frozenset[int] | None:
    """The arguments that are read by their place alone; ``None``: nobody knows what is read."""
    arguments = {argument for answer in row for argument in answer.read}
    if not arguments:
        return None
    return frozenset(
        argument.ordinal
        for argument in arguments
        if argument.ordinal is not None and argument.type is None
    )


def _types(answer: Answer, read: frozenset[int] | None) -> tuple[str, ...]:
    """What stands at the places that are read, without the names."""
    parameters = answer.parameters or ()
    numbers: Iterable[int] = range(len(parameters)) if read is None else sorted(read)
    return tuple(
        _NAME.sub("", parameters[number]).rstrip() if number < len(parameters) else ""
        for number in numbers
    )


def _told(
    answer: Answer, example: Answer, usual: tuple[str, ...], read: frozenset[int] | None
) -> Answer:
    if answer.parameters is None or example.parameters is None or answer.level is Level.ERROR:
        return answer
    if _types(answer, read) == usual:
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
    texts = (argument.text for argument in answer.read if argument.type is None)
    return ", ".join(dict.fromkeys(texts))
