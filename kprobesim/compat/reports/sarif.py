"""SARIF 2.1.0, which code hosts show beside the lines of the source.

One result is one class of finding on one probe: its message names the kernels. What is well is not
a result, and what is allowed is a suppressed one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kprobesim.compat.finding import Answer, Compatibility, Finding
from kprobesim.compat.kinds import Kind, Level
from kprobesim.compat.reports.texts import printable, probe_names, rows, sentence
from kprobesim.sources.wanted import Wanted
from kprobesim.version import __version__

__all__ = ["sarif_report"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Level.NOTE: "note", Level.SILENT: "warning", Level.ERROR: "error"}
_MOST_NAMED = 8  # kernels in a message; all are among the properties


def sarif_report(found: Compatibility, allowed: Collection[Kind] = ()) -> str:
    """The log, in ASCII, ending in a newline."""
    rules = [kind for kind in Kind if kind.level in _LEVELS]
    table = rows(found)
    names = probe_names([wanted for wanted, _ in table])
    results = [
        _result(name, wanted, kind, cells, rules.index(kind), allowed, len(found.kernels))
        for name, (wanted, row) in zip(names, table, strict=True)
        for kind, cells in _by_kind(row).items()
    ]
    results += [
        _plain(problem.path, problem.line, problem.message, rules.index(Kind.PROBLEM))
        for problem in found.problems
    ]
    run = {
        "tool": {"driver": _driver(rules)},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {"executionSuccessful": True, "exitCode": found.exit_status(allowed)},
        ],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _driver(rules: Sequence[Kind]) -> dict[str, Any]:
    return {
        "name": "kprobesim",
        "semanticVersion": __version__,
        "rules": [
            {
                "id": str(kind),
                "shortDescription": {"text": kind.legend},
                "defaultConfiguration": {"level": _LEVELS[kind.level]},
            }
            for kind in rules
        ],
    }


_Cells = list[tuple[Answer, Finding]]


def _by_kind(row: Sequence[Answer]) -> dict[Kind, _Cells]:
    """What is not well, by its class, the worst first: the cells and what was found in them."""
    found: dict[Kind, _Cells] = {}
    for answer in row:
        for finding in answer.findings:
            if finding.level in _LEVELS:
                found.setdefault(finding.kind, []).append((answer, finding))
    return dict(sorted(found.items(), key=lambda item: -item[0].severity))


def _result(
    name: str,
    wanted: Wanted,
    kind: Kind,
    cells: _Cells,
    rule: int,
    allowed: Collection[Kind],
    kernels: int,
) -> dict[str, Any]:
    labels = [printable(answer.kernel.label) for answer, _ in cells]
    result = _plain(wanted.source, wanted.line, f"{name}: {_message(cells, labels, kernels)}", rule)
    result["ruleId"], result["level"] = str(kind), _LEVELS[kind.level]
    # The same probe has the same print when lines are moved about, or a kernel is added.
    mark = f"{_uri(wanted.source)}\n{name}\n{kind}".encode()
    result["partialFingerprints"] = {"probe/v1": hashlib.sha256(mark).hexdigest()[:32]}
    result["properties"] = {"kernels": list(dict.fromkeys(labels))}
    if kind in allowed:
        result["suppressions"] = [{"kind": "external", "justification": f"--allow {kind}"}]
    return result


def _message(cells: _Cells, labels: Sequence[str], kernels: int) -> str:
    """The reasons, each with the kernels that gave it."""
    reasons: dict[str, list[str]] = {}
    for label, (_, finding) in zip(labels, cells, strict=True):
        reasons.setdefault(sentence(finding), []).append(label)
    parts = []
    for reason, of in reasons.items():
        named = ", ".join(of[:_MOST_NAMED]) + (" ..." if len(of) > _MOST_NAMED else "")
        parts.append(f"{reason} (on {len(of)} of {kernels}: {named})" if kernels > 1 else reason)
    return "; ".join(parts)


def _plain(path: str, line: int | None, message: str, rule: int) -> dict[str, Any]:
    return {
        "ruleId": str(Kind.PROBLEM),
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": printable(message)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(path)},
                    "region": {"startLine": line or 1},
                }
            }
        ],
    }


def _uri(path: str) -> str:
    """A path as a URI: relative to the current folder, where code hosts look, if it is below it."""
    if path == "-":
        return "stdin"
    place = Path(path)
    if place.is_absolute():
        if not place.is_relative_to(Path.cwd()):
            return "file://" + quote(path, errors="surrogateescape")
        place = place.relative_to(Path.cwd())
    return quote(place.as_posix(), errors="surrogateescape")
