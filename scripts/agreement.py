#!/usr/bin/env python3
"""Compare ``check`` with the answers of many kernels' own kprobes, point by point.

    python scripts/agreement.py                            the newest of each line Debian carries
    python scripts/agreement.py --kernels 6.12,7.3 --points 2000
    python scripts/agreement.py linux-image-*-rt-*.deb     these packages

Each kernel boots once, and its snapshot is kept in the cache. In it its own register_kprobe(), and
what a write into kprobe_events does for a probe and a return probe, judge the same random points:
three of four anywhere in functions, the others where a kernel says no: at BUG(), exception table
entries, ftrace's places, jump labels and static calls. The answers are kept, too, so a second run
asks only what is new. Every point that differs is named; the exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import errno as errno_names
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kprobesim import KprobesimError, open_rules
from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.guest import GuestRules
from kprobesim.fetch.cache import (
    FetchError,
    VersionKey,
    cache_directory,
)
from kprobesim.fetch.kernels import Available, Fetcher
from kprobesim.kernel.offline import KernelRules
from kprobesim.machine.faults import GuestStop

INTERFACES = ("register_kprobe", "kprobe_events", "kretprobe_events")
SUITES = (
    *("oldoldstable", "oldstable", "oldstable-backports", "stable", "stable-backports"),
    *("testing", "sid", "experimental"),
)
"""Debian's aliases: which kernels they hold changes, and is found at run time."""
SECURITY = ("oldoldstable-security", "oldstable-security", "stable-security")
ANYWHERE = 0.75
SHOWN = 20


@dataclass(frozen=True)
class Point:
    """A place that kernel and ``check`` are asked about."""

    symbol: str
    offset: int

    def __str__(self) -> str:
        return f"{self.symbol}+{self.offset:#x}"


@dataclass
class Result:
    """One kernel's answers: how many points agree by interface, and those that do not."""

    release: str
    arch: str
    model: str
    points: dict[str, int]
    differing: list[dict[str, Any]]
    problem: str = ""

    def percent(self, interface: str) -> float | None:
        """How many of a hundred points agree; ``None`` if none was asked for."""
        asked = self.points.get(interface, 0)
        wrong = sum(one["interface"] == interface for one in self.differing)
        return 100.0 * (asked - wrong) / asked if asked else None


# -- points ----------------------------------------------------------------------------------------


def choose(rules: KernelRules, count: int, seed: int) -> list[Point]:
    """``count`` random points of a kernel, always the same for the same ``seed``."""
    rng = random.Random(f"{rules.version} {seed}")
    image = rules.image
    functions = [symbol for symbol in rules.symbols.functions() if symbol.size > 0]
    tables = [
        [entry.addr for entry in image.bug_table],
        [entry.insn for entry in image.exception_table],
        list(image.mcount_sites),
        list(image.jump_labels),
        list(image.static_calls),
    ]
    special = [sorted(places) for places in tables if places]
    points: list[Point] = []
    while len(points) < count:
        if not special or rng.random() < ANYWHERE:
            symbol = rng.choice(functions)
            points.append(Point(symbol.name, rng.randrange(symbol.size)))
            continue
        address = rng.choice(rng.choice(special)) + rng.choice((0, 0, 0, 1, 4))
        found = rules.symbols.at(address)
        if found is not None:
            points.append(Point(found.symbol.name, found.offset))
    return points


# -- the guest's answers ---------------------------------------------------------------------------


def answers(
    package: Path,
    points: Sequence[Point],
    interfaces: Sequence[str],
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, dict[str, int]]:
    """What the guest says, by interface and point; what is known from before is not asked again."""
    file = folder / f"{package.stem}.json"
    known: dict[str, dict[str, int]] = json.loads(file.read_text()) if file.exists() else {}
    missing = [
        (interface, point)
        for interface in interfaces
        for point in points
        if str(point) not in known.get(interface, {})
    ]
    if missing:
        guest = GuestRules(
            booted_kernel(package, progress=lambda text: say(f"{package.name}: {text}"))
        )
        say(f"{package.name}: asks {len(missing)} times")
        try:
            for interface, point in missing:
                try:
                    answer = guest.point(
                        point.symbol,
                        point.offset,
                        kretprobe=interface == "kretprobe_events",
                        events=interface != "register_kprobe",
                    )
                except GuestStop as error:  # it is as it was before again
                    say(f"{package.name}: {interface} {point} has no answer: {error.headline}")
                    continue
                known.setdefault(interface, {})[str(point)] = answer
        finally:
            scratch = file.with_suffix(".new")
            scratch.write_text(json.dumps(known))
            scratch.replace(file)
    return known


def compare(
    package: Path,
    count: int,
    seed: int,
    interfaces: Sequence[str],
    folder: Path,
    say: Callable[[str], None],
) -> Result:
    """One kernel's agreement."""
    rules = open_rules(package)
    points = choose(rules, count, seed)
    theirs = answers(package, points, interfaces, folder, say)
    differing = []
    asked = dict.fromkeys(interfaces, 0)
    for interface in interfaces:
        for point in points:
            events = interface != "register_kprobe"
            verdict = rules.check(
                point.symbol,
                offset=point.offset,
                events=events,
                kretprobe=interface == "kretprobe_events",
                suggest=False,
            )
            answer = theirs.get(interface, {}).get(str(point))
            if answer is None:
                continue
            asked[interface] += 1
            if answer != verdict.errno:
                differing.append(
                    {
                        "interface": interface,
                        "point": str(point),
                        "kernel": answer,
                        "check": verdict.errno,
                        "reason": verdict.reason and verdict.reason.value,
                        "same_named": verdict.same_named,
                    }
                )
    return Result(rules.version, rules.arch, rules.model.name, asked, differing)


# -- which kernels ---------------------------------------------------------------------------------


def archives() -> list[str]:
    """APT's lines for every suite, of the Debian archives that this machine's APT knows."""
    command = ["apt-get", "update", "--print-uris"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = dict(re.findall(r"'(\S+/)dists/([\w-]+)/InRelease'", listed))
    keys = sorted(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))
    signed = f" [signed-by={keys[0]}]" if keys else ""
    lines = []
    for uri, suite in sorted(found.items()):
        suites = SECURITY if suite.endswith("-security") else SUITES
        lines += [f"deb{signed} {uri} {suite} main" for suite in suites if "debian" in uri]
    return lines


def packages(
    wanted: Sequence[str], arches: Sequence[str], folder: Path, say: Callable[[str], None]
) -> Iterator[Path]:
    """The newest package of each line, or of the lines that are ``wanted``."""
    sources = folder / "sources.list"
    sources.write_text("\n".join(archives()) + "\n")
    for arch in arches:
        try:
            fetcher = Fetcher(arch, folder, say, sources=sources)
            found = fetcher.kernels()
        except FetchError as error:
            say(f"{arch}: {error}")
            continue
        lines = sorted({one.series for one in found}, key=VersionKey)
        for line in [line for line in lines if not wanted or line in wanted]:
            path = _first(fetcher, [one for one in found if one.series == line], say)
            if path is not None:
                yield path


def _first(
    fetcher: Fetcher, newest_first: Sequence[Available], say: Callable[[str], None]
) -> Path | None:
    """The newest that can be downloaded: lists name packages that a mirror has dropped."""
    for one in newest_first:
        try:
            return fetcher.download(one)
        except FetchError as error:
            say(f"{one.package}: {error}")
    return None


# -- telling ---------------------------------------------------------------------------------------


def table(results: Sequence[Result], interfaces: Sequence[str]) -> str:
    """The results as a table in Markdown."""
    lines = [
        f"| kernel | arch | model | points | {' | '.join(interfaces)} |",
        "|---" * (4 + len(interfaces)) + "|",
    ]
    for one in results:
        cells = [one.problem] if one.problem else []
        for interface in interfaces if not one.problem else ():
            percent = one.percent(interface)
            cells.append("-" if percent is None else f"{percent:.2f} %")
        asked = max(one.points.values(), default=0)
        lines.append(
            f"| {one.release} | {one.arch} | {one.model} | {asked} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _name(number: int) -> str:
    return f"-{errno_names.errorcode.get(number, number)}" if number else "0"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("packages", nargs="*", type=Path, help="packages instead of the archive's")
    parser.add_argument("--kernels", default="", help="only these lines: 5.10,6.1,7.3")
    parser.add_argument("--arch", choices=ARCHITECTURES, help="only this architecture")
    parser.add_argument("--points", type=int, default=2000, help="points a kernel and interface")
    parser.add_argument("--seed", type=int, default=1, help="other points")
    parser.add_argument(
        "--interfaces", default=",".join(INTERFACES), help=f"of {', '.join(INTERFACES)}"
    )
    parser.add_argument("--cache", type=Path, help="folder of packages, snapshots and answers")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    interfaces = [name for name in options.interfaces.split(",") if name]
    if not set(interfaces) <= set(INTERFACES):
        parser.error(f"--interfaces {options.interfaces}: choose of {', '.join(INTERFACES)}")
    folder = options.cache or cache_directory().parent / "more"
    answers_in = folder / "answers"
    answers_in.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    wanted = [line for line in re.split(r"[, ]+", options.kernels) if line]
    arches = [options.arch] if options.arch else list(ARCHITECTURES)
    chosen = options.packages or packages(wanted, arches, folder, say)
    results = []
    for package in chosen:
        try:
            found = compare(package, options.points, options.seed, interfaces, answers_in, say)
        except (KprobesimError, OSError) as error:
            say(f"{package.name}: {error}")
            found = Result(package.stem, "", "", {}, [], str(error).partition("\n")[0])
        results.append(found)
        for one in found.differing[:SHOWN]:
            say(
                f"  {found.release} {one['interface']} {one['point']}: the kernel says "
                f"{_name(one['kernel'])}, check {_name(one['check'])} ({one['reason']})"
            )
    if options.json:
        print(json.dumps([asdict(one) for one in results], indent=2))
    else:
        print(table(results, interfaces))
    return int(any(one.differing or one.problem for one in results) or not results)


if __name__ == "__main__":
    sys.exit(main())
