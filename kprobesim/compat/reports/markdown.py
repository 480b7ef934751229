"""A page of Markdown, as for the summary of a CI job or a pull request's comment."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from kprobesim.compat.finding import Answer, Compatibility, Hits
from kprobesim.compat.kinds import Kind, Level
from kprobesim.compat.reports.texts import plural, printable, probe_names, rows, sentence

__all__ = ["markdown_report"]

_MARKS = {Level.FINE: "✅", Level.NOTE: "ℹ️", Level.SILENT: "⚠️", Level.ERROR: "❌"}
_SPECIAL = re.compile(r"([\\`*\[\]#|<>~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def markdown_report(found: Compatibility, allowed: Collection[Kind] = ()) -> str:
    """The page: a sentence, the table of probes and kernels, and the reasons below it."""
    table = rows(found)
    names = probe_names([wanted for wanted, _ in table])
    worst_first = sorted(
        zip(names, (row for _, row in table), strict=True),
        key=lambda item: -max(answer.worst.kind.severity for answer in item[1]),
    )
    lines = ["## Probes and kernels", "", _sum(found, allowed), ""]
    if worst_first:
        lines += _grid(found, worst_first)
        lines += _legend(found)
        lines += _reasons(worst_first, len(found.kernels))
        lines += _hits(found, worst_first)
    if found.problems:
        lines += ["", "### What could not be read", ""]
        lines += [f"- {_code(_place(one.path, one.line))}: {_text(one.message)}"
                  for one in found.problems]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def _sum(found: Compatibility, allowed: Collection[Kind]) -> str:
    probes = plural(len(rows(found)), "probe")
    kernels = plural(len(found.kernels), "kernel")
    wrong = len(found.wrong(allowed))
    if wrong:
        verb = "is" if wrong == 1 else "are"
        end = f"**{plural(wrong, 'answer')} of {len(found.answers):,} {verb} wrong.**"
    elif found.problems and Kind.PROBLEM not in allowed:
        end = "Something could not be read."
    else:
        end = "All is well."
    if allowed:
        end += f" Allowed: {', '.join(sorted(map(str, allowed)))}."
    return f"{probes} on {kernels}. {end}"


_Row = tuple[str, Sequence[Answer]]


def _grid(found: Compatibility, table: Sequence[_Row]) -> list[str]:
    heads = ["probe", *(_text(kernel.label) for kernel in found.kernels)]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for name, row in table:
        cells = [f"{_MARKS[one.level]} {one.worst.kind}" for one in row]
        lines.append(_row([_code(name).replace("|", "\\|"), *cells]))  # they end cells even there
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _legend(found: Compatibility) -> list[str]:
    """What the classes mean that are in the table."""
    kinds = sorted({one.worst.kind for one in found.answers}, key=lambda one: -one.severity)
    return ["", *(f"- {_MARKS[kind.level]} {kind}: {_text(kind.legend)}" for kind in kinds)]


def _reasons(table: Sequence[_Row], kernels: int) -> list[str]:
    lines: list[str] = []
    for name, row in table:
        reasons: dict[str, list[str]] = {}
        for answer in row:
            for finding in answer.findings:
                if finding.level > Level.FINE:
                    text = f"{_MARKS[finding.level]} {finding.kind}: {_text(sentence(finding))}"
                    reasons.setdefault(text, []).append(_text(answer.kernel.label))
        if reasons:
            lines += ["", f"### {_code(name)}", ""]
            for text, labels in reasons.items():
                where = "everywhere" if len(labels) == kernels else ", ".join(labels)
                lines.append(f"- {text}" + (f" ({where})" if kernels > 1 else ""))
    return lines


def _hits(found: Compatibility, table: Sequence[_Row]) -> list[str]:
    """How often each probe hit, if that was counted."""
    counted = [(name, row) for name, row in table if any(one.hits is not None for one in row)]
    if not counted:
        return []
    heads = ["probe", *(_text(kernel.label) for kernel in found.kernels)]
    lines = [
        "",
        "### Hits",
        "",
        "During the boot + during the lines.",
        "",
        _row(heads),
        _row(["---"] * len(heads)),
    ]
    lines += [
        _row([_code(name).replace("|", "\\|"), *(_count(one.hits) for one in row)])
        for name, row in counted
    ]
    return lines


def _count(hits: Hits | None) -> str:
    if hits is None:
        return ""
    if hits.problem:
        return _text(hits.problem)
    boot, lines = hits.boot, hits.lines
    text = f"{boot.hits:,} + {lines.hits:,}" if hits.all.hits else "never"
    if hits.all.nmissed:
        text += f", {boot.nmissed:,} + {lines.nmissed:,} missed"
    if hits.all.lost:
        text += f", {boot.lost or 0:,} + {lines.lost or 0:,} lost to inlining"
    return text


def _place(path: str, line: int | None) -> str:
    return f"{path}:{line}" if line else path


def _text(text: str) -> str:
    """Words in which nothing is markup, on one line; also in the cell of a table."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def _code(text: str) -> str:
    """A text as code, with as many backticks round it as it needs."""
    text = printable(text) or " "
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"
