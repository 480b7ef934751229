"""Probes that may be missing: alone, or as long as one of their list attaches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from kprobesim.compat.finding import Answer, Finding, worst_first
from kprobesim.compat.kinds import Kind, Level
from kprobesim.sources.wanted import Wanted

__all__ = ["forgiven", "forgiven_by_alternatives"]

_List = tuple[str, frozenset[str], bool]


def forgiven(finding: Finding) -> Finding:
    """``finding`` on a probe whose author said that it may be missing."""
    if finding.level is not Level.ERROR:
        return finding
    return replace(finding, kind=Kind.OPTIONAL, message=f"{finding.kind}: {finding.message}")


def forgiven_by_alternatives(answers: Sequence[Answer]) -> list[Answer]:
    """One kernel's answers; optional probes are forgiven if another of their list attaches.

    ``if BPF.get_kprobe_functions(b"a")`` and ``missing_probes = "warn"`` do not help a tool that
    finds none of the names.
    """
    attached = {
        _list_of(answer.wanted)
        for answer in answers
        if answer.wanted.alternatives and answer.level is not Level.ERROR
    }
    well = {
        (_list_of(answer.wanted), answer.wanted.target)
        for answer in answers
        if answer.wanted.alternatives and answer.level < Level.SILENT
    }
    return [
        replace(answer, findings=_all_forgiven(answer, well))
        if answer.wanted.optional and _list_of(answer.wanted) in attached
        else answer
        for answer in answers
    ]


def _all_forgiven(answer: Answer, well: Collection[tuple[_List, str]]) -> tuple[Finding, ...]:
    """Its findings; what it misses is forgiven, too, if another of its list sees that."""
    kept = []
    for finding in answer.findings:
        seen = any((_list_of(answer.wanted), name) in well for name in finding.instead)
        if finding.kind is Kind.SPLIT and seen:
            finding = replace(finding, kind=Kind.OPTIONAL)
        kept.append(forgiven(finding))
    return worst_first(kept)


def _list_of(wanted: Wanted) -> _List:
    return wanted.source, frozenset((wanted.target, *wanted.alternatives)), wanted.returns
