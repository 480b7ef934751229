"""One JSON document; ``docs/compat.schema.json`` says what is in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from kprobesim.asking.counts import Tally
from kprobesim.compat.finding import Answer, AskedKernel, Compatibility, Finding, Hits
from kprobesim.compat.kinds import Kind
from kprobesim.compat.reports.texts import printable, rows
from kprobesim.sources.wanted import Problem, Source, Wanted, WantedArgument

__all__ = ["FORMAT", "VERSION", "json_report"]

FORMAT = "kprobesim-compat"

#: Counts up when something is taken away or means something else; what is added does not count.
VERSION = 1


def json_report(found: Compatibility, allowed: Collection[Kind] = ()) -> str:
    """The document, in ASCII, ending in a newline."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "status": found.exit_status(allowed),
        "allowed": sorted(map(str, allowed)),
        "summary": _summary(found, allowed),
        "kernels": [_kernel(one) for one in found.kernels],
        "sources": [_source(one) for one in found.sources],
        "probes": [_probe(wanted, row, allowed) for wanted, row in rows(found)],
        "problems": [
            {"path": printable(one.path), "line": one.line, "message": printable(one.message)}
            for one in found.problems
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _summary(found: Compatibility, allowed: Collection[Kind]) -> dict[str, Any]:
    classes = Counter(answer.worst.kind for answer in found.answers)
    return {
        "probes": len(rows(found)),
        "kernels": len(found.kernels),
        "answers": len(found.answers),
        "wrong": len(found.wrong(allowed)),
        "classes": {str(kind): classes[kind] for kind in Kind if classes[kind]},
    }


def _kernel(one: AskedKernel) -> dict[str, Any]:
    return {
        "path": printable(one.path),
        "label": printable(one.label),
        "release": printable(one.release),
        "arch": one.arch,
    }


def _source(one: Source) -> dict[str, Any]:
    return {
        "path": printable(str(one.path)),
        "kind": str(one.kind),
        "probes": len(one.wanted),
        "problems": [_problem(problem) for problem in one.problems],
        "notes": [_problem(note) for note in one.notes],
    }


def _problem(one: Problem) -> dict[str, Any]:
    return {"line": one.line, "column": one.column, "message": printable(one.text)}


def _probe(wanted: Wanted, row: Sequence[Answer], allowed: Collection[Kind]) -> dict[str, Any]:
    return {
        "text": printable(wanted.text),
        "source": printable(wanted.source),
        "line": wanted.line,
        "interface": str(wanted.interface),
        "target": printable(wanted.target),
        "offset": wanted.offset,
        "address": None if wanted.address is None else f"{wanted.address:#x}",
        "module": wanted.module,
        "program": wanted.program,
        "returns": wanted.returns,
        "optional": wanted.optional,
        "pattern": wanted.pattern,
        "overrides": wanted.overrides,
        "source_place": wanted.source_place,
        "arguments": [_argument(one) for one in wanted.arguments],
        "alternatives": list(wanted.alternatives),
        "answers": [_answer(number, one, allowed) for number, one in enumerate(row)],
    }


def _argument(one: WantedArgument) -> dict[str, Any]:
    return {
        "text": printable(one.text),
        "ordinal": one.ordinal,
        "register": one.register,
        "name": one.name,
        "symbol": one.symbol,
        "returned": one.returned,
        "type": one.type,
        "members": list(one.members),
    }


def _answer(number: int, answer: Answer, allowed: Collection[Kind]) -> dict[str, Any]:
    return {
        "kernel": number,
        "class": str(answer.worst.kind),
        "level": answer.level.name.lower(),
        "wrong": answer.counts(allowed),
        "asked_errno": answer.asked,
        "hits": _hits(answer.hits) if answer.hits is not None else None,
        "findings": [_finding(one) for one in answer.findings],
    }


def _hits(one: Hits) -> dict[str, Any]:
    return {**_tally(one.lines), "boot": _tally(one.boot), "problem": printable(one.problem)}


def _tally(one: Tally) -> dict[str, Any]:
    return {"hits": one.hits, "nmissed": one.nmissed, "lost": one.lost}


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "class": str(one.kind),
        "level": one.level.name.lower(),
        "message": printable(one.message),
        "errno": one.errno,
        "errno_name": one.errno_name,
        "rule": str(one.rule) if one.rule else None,
        "instead": [printable(text) for text in one.instead],
        "found_by": one.found_by,
        "certainty": one.certainty,
    }
