"""A run as a page in Markdown: a table a contest, the architectures side by side."""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.bench.contest import Contender, Contest
from kprobesim.bench.report import Report, figure_text

__all__ = ["page"]


def page(report: Report, plot: str | None = None) -> str:
    """The page.

    Args:
        report: What was measured.
        plot: The file of its plot, from the page's folder.
    """
    return "\n".join(_lines(report, plot)) + "\n"


def _lines(report: Report, plot: str | None) -> Iterator[str]:
    machine = report.machine
    yield "# Performance"
    yield ""
    yield (
        f"One run of `kprobesim bench`, begun {report.started}, on {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['system']}, "
        + ", ".join(f"{name} {version}" for name, version in report.versions.items() if version)
        + "."
    )
    yield ""
    yield (
        f"Figures are medians of {report.rounds} rounds in which every contender has a turn, in "
        "processor time; ratios are medians of the rounds' ratios. Machines are noisy: compare "
        "ratios, not nanoseconds. **E** is an empty Python handler behind `UC_HOOK_CODE` of "
        "Unicorn's own binding, **R** one that reads a register there. A bound is what a row is "
        "held to."
    )
    yield ""
    if plot is not None:
        yield f"![All figures as bars, with their bounds]({plot})"
        yield ""
    judged = [c.met(x) for c in report.contests for x in c.contenders if c.met(x) is not None]
    yield f"{judged.count(True)} of {len(judged)} bounds are kept" + (
        f"; missed: {', '.join(report.missed)}." if report.missed else "."
    )
    for key in dict.fromkeys(contest.key for contest in report.contests):
        yield from _section([contest for contest in report.contests if contest.key == key])
    if report.notes:
        yield ""
        yield "## Notes"
        yield ""
        yield from (f"- {note}" for note in report.notes)


def _section(contests: list[Contest]) -> Iterator[str]:
    yield ""
    yield f"## {_sentence(contests[0].title)}"
    yield ""
    for setting in dict.fromkeys(contest.setting for contest in contests):
        yield f"{_sentence(setting)}."
        yield ""
    arches = [contest.arch for contest in contests]
    yield f"| {contests[0].unit} | " + " | ".join(arches) + " | bound |"
    yield "|---|" + "--:|" * len(arches) + "---|"
    rows: dict[str, dict[str, Contender]] = {}
    for contest in contests:
        for contender in contest.contenders:
            rows.setdefault(contender.label, {})[contest.arch] = contender
    for label, by_arch in rows.items():
        cells = [
            _cell(contest, by_arch[contest.arch]) if contest.arch in by_arch else ""
            for contest in contests
        ]
        yield f"| {label} | " + " | ".join(cells) + f" | {_bound(contests[0], by_arch)} |"


def _sentence(text: str) -> str:
    """With a capital, where its first word is not a name."""
    return text[0].upper() + text[1:] if text.split()[0].isalpha() else text


def _cell(contest: Contest, contender: Contender) -> str:
    text, ratio = figure_text(contender.median), contest.ratio(contender)
    if ratio is not None:
        text += f" ({ratio:.3g} x)"
    return f"**{text} missed**" if contest.met(contender) is False else text


def _bound(contest: Contest, by_arch: dict[str, Contender]) -> str:
    target = next(iter(by_arch.values())).target
    if target is None:
        return ""
    other = f" x {_name(contest, target.against)}" if target.against is not None else ""
    return f"{target.at_most:g}{other}" if target.at_most is not None else other.strip()


def _name(contest: Contest, key: str) -> str:
    return key if len(key) == 1 and key.isalpha() else contest[key].label.split(",")[0]
