"""What was measured: as a table for people and as plain data for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from kprobesim.bench.contest import Contender, Contest, Target
from kprobesim.bench.sizes import Sizes
from kprobesim.errors import UsageError
from kprobesim.version import __version__

__all__ = ["Report", "figure_text"]

_PACKAGES = ("unicorn", "capstone", "qiling")


@dataclass
class Report:
    """All contests of one run; ``notes`` say what was used and what could not take part."""

    rounds: int
    sizes: Sizes
    contests: list[Contest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds")
    )
    machine: dict[str, Any] = field(default_factory=lambda: _machine())
    versions: dict[str, str | None] = field(default_factory=lambda: _versions())

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Report:
        """The report that :meth:`as_dict` gave."""
        return cls(
            data["rounds"],
            Sizes(**{name: _tuple(value) for name, value in data["sizes"].items()}),
            [_contest_of(contest) for contest in data["contests"]],
            data["notes"],
            data["started"],
            data["machine"],
            data["versions"],
        )

    @property
    def missed(self) -> list[str]:
        """The targets that were not met, as ``arch contest contender``."""
        return [
            f"{contest.arch} {contest.key} {contender.key}"
            for contest in self.contests
            for contender in contest.contenders
            if contest.met(contender) is False
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything, with all rounds."""
        return {
            "started": self.started,
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "sizes": asdict(self.sizes),
            "notes": self.notes,
            "missed": self.missed,
            "contests": [_contest(contest) for contest in self.contests],
        }

    def lines(self) -> Iterator[str]:
        """The table."""
        machine, versions = self.machine, self.versions
        yield f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
        yield ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        yield f"medians of {self.rounds} rounds, every contender once a round"
        for contest in self.contests:
            yield ""
            yield f"{contest.arch}: {contest.title}"
            yield f"  ({contest.setting})"
            width = max(len(contender.label) for contender in contest.contenders)
            yield f"  {'':{width}}  {contest.unit:>11}"
            for contender in contest.contenders:
                figure = f"{figure_text(contender.median):>11}"
                yield f"  {contender.label:{width}}  {figure}{_verdict(contest, contender)}"
        if self.notes:
            yield ""
            yield from (f"note: {note}" for note in self.notes)
        yield ""
        judged = [c.met(x) for c in self.contests for x in c.contenders if c.met(x) is not None]
        yield f"{judged.count(True)} of {len(judged)} targets met" + (
            f"; missed: {', '.join(self.missed)}" if self.missed else ""
        )


def _verdict(contest: Contest, contender: Contender) -> str:
    ratio, target, met = contest.ratio(contender), contender.target, contest.met(contender)
    if target is None:
        return ""
    parts = []
    if ratio is not None and target.against is not None:
        parts.append(f"{ratio:6.3f} x {_short(contest[target.against])}")
    if met is not None:
        parts.append(f"at most {target.at_most:g}: {'met' if met else 'MISSED'}")
    return "  " + ", ".join(parts) if parts else ""


def _short(contender: Contender) -> str:
    return contender.key if len(contender.key) == 1 else contender.label.split(",")[0]


def figure_text(value: float) -> str:
    """A figure with three digits, or all before its point."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _contest_of(data: Mapping[str, Any]) -> Contest:
    contenders = [
        Contender(one["key"], one["label"], _played, _target_of(one), one["rounds"])
        for one in data["contenders"]
    ]
    return Contest(
        data["arch"], data["key"], data["title"], data["unit"], data["setting"], contenders
    )


def _target_of(data: Mapping[str, Any]) -> Target | None:
    if data["against"] is None and data["at_most"] is None:
        return None
    return Target(data["against"], data["at_most"])


def _played() -> float:
    raise UsageError("a contest that was read from a file is over")


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "arch": contest.arch,
        "key": contest.key,
        "title": contest.title,
        "setting": contest.setting,
        "unit": contest.unit,
        "contenders": [
            {
                "key": contender.key,
                "label": contender.label,
                "rounds": contender.rounds,
                "median": contender.median,
                "against": contender.target.against if contender.target else None,
                "at_most": contender.target.at_most if contender.target else None,
                "ratio": contest.ratio(contender),
                "met": contest.met(contender),
            }
            for contender in contest.contenders
        ],
    }


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass  # not on every system; the architecture has to do then
    return platform.machine()


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "kprobesim": __version__,
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions
