"""The figures as a picture, with matplotlib (the extra ``bench``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kprobesim.bench.contest import Contender, Contest
from kprobesim.bench.report import Report, figure_text
from kprobesim.errors import UsageError
from kprobesim.extras import needed

__all__ = ["check_plot", "write_plot"]

_OURS, _OTHERS, _TARGET = "#2a7f3e", "#8a8f98", "#c0392b"


def check_plot(path: Path) -> None:
    """Raise :class:`UsageError` now if :func:`write_plot` could not work after a long run."""
    needed("matplotlib", "bench")
    if path.suffix != ".svg":
        raise UsageError(f"--plot writes SVG: name the file {path.with_suffix('.svg').name}")


def write_plot(report: Report, path: Path) -> None:
    """A column an architecture, a panel a contest.

    A bar is a median and says so, dots are the rounds, a red line is what a bar is held to.
    """
    check_plot(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    arches = list(dict.fromkeys(contest.arch for contest in report.contests))
    keys = list(dict.fromkeys(contest.key for contest in report.contests))
    panels = {(contest.key, contest.arch): contest for contest in report.contests}
    heights = [
        max(len(panels[key, arch].contenders) for arch in arches if (key, arch) in panels) + 1.4
        for key in keys
    ]
    size = (9 * len(arches), 0.3 * sum(heights) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(keys), len(arches), height_ratios=heights, squeeze=False)
    for row, key in zip(axes, keys, strict=True):
        for axis, arch in zip(row, arches, strict=True):
            if (key, arch) in panels:
                _panel(panels[key, arch], axis)
            else:
                axis.set_axis_off()
    figure.suptitle(
        f"What a probe costs: medians of {report.rounds} rounds, less is better.  "
        "Green: kprobesim.  Grey: what it is compared with.  Red line: the bound.\n"
        "E: empty Python handler behind UC_HOOK_CODE of Unicorn's binding.  "
        "R: one that reads a register.",
        fontsize=11,
    )
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kprobesim"}):
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})


def _panel(contest: Contest, axis: Any) -> None:
    contenders = contest.contenders
    ours = [not _is_rival(contest, contender) for contender in contenders]
    places = range(len(contenders))
    colours = [_OURS if own else _OTHERS for own in ours]
    axis.barh(places, [one.median for one in contenders], color=colours, height=0.7)
    for place, contender in zip(places, contenders, strict=True):
        axis.plot(contender.rounds, [place] * len(contender.rounds), "k.", markersize=2)
        limit = _limit(contest, contender)
        if limit is not None:
            axis.plot([limit] * 2, [place - 0.45, place + 0.45], color=_TARGET, linewidth=2)
        reach = max([contender.median, *contender.rounds, limit or 0])
        axis.text(reach, place, "  " + _said(contest, contender), va="center", fontsize=7)
    axis.margins(x=0.35)
    axis.set_xlim(left=0)
    axis.set_yticks(places, [one.label for one in contenders], fontsize=7)
    axis.invert_yaxis()
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(f"{contest.arch}: {contest.title} ({contest.unit})", fontsize=8, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def _is_rival(contest: Contest, contender: Contender) -> bool:
    """Whether it is none of ours, where some are."""
    named = [one.label.startswith("kprobesim") for one in contest.contenders]
    return any(named) and not contender.label.startswith("kprobesim")


def _limit(contest: Contest, contender: Contender) -> float | None:
    target = contender.target
    if target is None or target.at_most is None:
        return None
    if target.against is None:
        return target.at_most
    return target.at_most * contest[target.against].median


def _said(contest: Contest, contender: Contender) -> str:
    ratio, target = contest.ratio(contender), contender.target
    text = figure_text(contender.median)
    if ratio is not None and target is not None and target.against is not None:
        name = target.against if len(target.against) == 1 else contest[target.against].label
        text += f" = {ratio:.3g} x {name.split(',')[0]}"
    return text
