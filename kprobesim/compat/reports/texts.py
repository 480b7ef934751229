"""Words that reports share: names of probes, told apart; text that no reader trips over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from kprobesim.compat.finding import Answer, Compatibility, Finding
from kprobesim.compat.kinds import Kind, Level
from kprobesim.sources.text import printable
from kprobesim.sources.wanted import Wanted

__all__ = ["counting_finding", "plural", "printable", "probe_names", "rows", "sentence"]


def rows(found: Compatibility) -> list[tuple[Wanted, Sequence[Answer]]]:
    """Each probe with its answers, one for each kernel."""
    width = len(found.kernels)
    if not width:
        return []
    return [
        (found.answers[at].wanted, found.answers[at : at + width])
        for at in range(0, len(found.answers), width)
    ]


def counting_finding(answer: Answer, allowed: Collection[Kind]) -> Finding | None:
    """The worst finding that is wrong and not ``allowed``; ``None`` if all is well."""
    for finding in answer.findings:
        if finding.level >= Level.SILENT and finding.kind not in allowed:
            return finding
    return None


def probe_names(probes: Sequence[Wanted]) -> list[str]:
    """What each probe is called: as it was written, with what tells equal ones apart."""
    names = [printable(one.text) for one in probes]
    for more in (_program, _line):
        count = Counter(names)
        names = [
            f"{name}{more(one)}" if count[name] > 1 else name
            for name, one in zip(names, probes, strict=True)
        ]
    count, seen = Counter(names), Counter[str]()
    for number, name in enumerate(names):
        if count[name] > 1:
            seen[name] += 1
            names[number] = f"{name} #{seen[name]}"
    return names


def _program(one: Wanted) -> str:
    return f" in {printable(one.program)}" if one.program else ""


def _line(one: Wanted) -> str:
    return f" at line {one.line}" if one.line else ""


def sentence(finding: Finding) -> str:
    """Why, with the errno, and what to do instead, as one line."""
    text = printable(finding.message)
    if finding.errno_name:
        text += f" [-{finding.errno_name}{f', {finding.rule}' if finding.rule else ''}]"
    if finding.instead:
        text += f"; instead: {', '.join(map(printable, finding.instead))}"
    if finding.certainty != "exact":
        text += f" ({finding.certainty}, by {finding.found_by})"
    return text


def plural(count: int, word: str) -> str:
    """``1 probe``, ``2 probes``."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
