"""The figures as a picture, with matplotlib (the extra ``bench``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kprobesim.bench.contest import Contest
from kprobesim.bench.report import Report
from kprobesim.errors import UsageError

__all__ = ["check_plot", "write_plot"]

_OURS, _OTHERS, _TARGET = "#2a7f3e", "#8a8f98", "#c0392b"


def check_plot(path: Path) -> None:
    """Raise :class:`UsageError` now if :func:`write_plot` could not work after a long run."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "--plot needs matplotlib, which is not installed: pip install 'kprobesim[bench]'"
        ) from None
    if path.suffix != ".svg":
        raise UsageError(f"--plot writes SVG: name the file {path.with_suffix('.svg').name}")


def write_plot(report: Report, path: Path) -> None:
    """One panel a contest: a bar is a median, dots are the rounds, a red line is the target."""
    check_plot(path)
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    contests = report.contests
    heights = [len(contest.contenders) + 1.2 for contest in contests]
    figure = Figure(figsize=(10, 0.32 * sum(heights) + 1), layout="constrained")
    axes = figure.subplots(len(contests), 1, height_ratios=heights, squeeze=False)
    for contest, axis in zip(contests, axes[:, 0], strict=True):
        _panel(contest, axis)
    figure.suptitle(f"kprobesim, medians of {report.rounds} rounds (less is better)", fontsize=11)
    FigureCanvasSVG(figure).print_svg(str(path))


def _panel(contest: Contest, axis: Any) -> None:
    labels = [contender.label for contender in contest.contenders]
    colours = [_OURS if label.startswith("kprobesim") else _OTHERS for label in labels]
    places = range(len(labels))
    axis.barh(places, [one.median for one in contest.contenders], color=colours, height=0.7)
    for place, contender in zip(places, contest.contenders, strict=True):
        axis.plot(contender.rounds, [place] * len(contender.rounds), "k.", markersize=2)
        if contender.target is not None and contender.target.at_most is not None:
            limit = contender.target.at_most
            if contender.target.against is not None:
                limit *= contest[contender.target.against].median
            axis.plot([limit] * 2, [place - 0.45, place + 0.45], color=_TARGET, linewidth=2)
    axis.set_yticks(places, labels, fontsize=7)
    axis.invert_yaxis()
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(f"{contest.arch}: {contest.title} ({contest.unit})", fontsize=8, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
