"""``kprobesim diff``: what a newer kernel changes for probes that work on an older one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import make_console, print_json, styled
from kprobesim.cli.loading import progress
from kprobesim.diff.change import Change, Difference, KernelDiff
from kprobesim.diff.compare import compare_kernels
from kprobesim.survey.known import open_known
from kprobesim.wrapping import WIDTH, wrapped

__all__ = ["add_parser", "run"]

_EPILOG = """\
OLD and NEW are images, packages, snapshots or catalogues, of one architecture. Modules are not
compared. Renames are told by what the functions' code does. Of the members of a type, - is gone,
! has another type, + is new, > has moved.

exit status: 0 if nothing breaks a probe that works on OLD, 1 if something may, 2 for wrong use.

examples:
  kprobesim diff linux-image-6.1.0-56-cloud-amd64.deb linux-image-6.1.0-57-cloud-amd64.deb
  kprobesim diff old/vmlinux new/vmlinux --only tool.bpf.o script.bt
  kprobesim diff old.parquet new.parquet --limit 0 --json
"""
_SAME, _BREAKS = 0, 1
_SHOWN = 10
_DETAILS = 6


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "diff",
        help=COMMANDS["diff"],
        description="Compare what two kernels have that can be probed, the worst news first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", metavar="OLD", help="the kernel on which the probes work")
    parser.add_argument("new", metavar="NEW", help="the kernel on which they are to work")
    parser.add_argument(
        "--only",
        metavar="SOURCE",
        nargs="+",
        action="extend",
        help="compare just what this eBPF object, script, policy or list of names depends on",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_count,
        default=_SHOWN,
        help=f"show at most N of each kind, 0 for all (default: {_SHOWN})",
    )
    parser.add_argument("--json", action="store_true", help="print all as one JSON document")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: write 20, or 0 for all")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors. The exit code tells whether something may break."""
    sources = None
    if args.only is not None:
        from kprobesim.sources.read import read_sources  # readers of all kinds, which few ask for

        sources = read_sources(args.only)
    tell = progress()
    old, new = (open_known(path, progress=tell) for path in (args.old, args.new))
    found = compare_kernels(old, new, sources, tell)
    if args.json:
        print_json(found.as_dict())
    else:
        _show(make_console(), found, args.limit)
    return _BREAKS if found.breaks else _SAME


def _show(console: Console, found: KernelDiff, limit: int) -> None:
    console.print(styled((f"{found.old} -> {found.new}", "bold")))
    for note in found.notes:
        console.print(styled((f"  {note}", "yellow")))
    if not found.differences:
        console.print(styled("  nothing that probes can see is different"))
    for change, count in found.counts.items():
        console.print(styled((f"{count:7}  ", _style(change)), change.heading))
    for change in found.counts:
        those = [each for each in found.differences if each.change is change]
        console.print()
        console.print(styled((f"{change.heading} ({len(those)})", f"bold {_style(change)}")))
        plain = [each for each in those if _is_plain(each)]
        speaking = [each for each in those if not _is_plain(each)]
        shown = (speaking + plain)[:limit] if limit else speaking + plain
        for each in shown[: len(speaking)]:
            _show_one(console, each, limit)
        _show_names(console, [each.name for each in shown[len(speaking) :]])
        if len(those) > len(shown):
            more = f"  ... and {len(those) - len(shown)} more; --limit 0 shows all"
            console.print(styled((more, "dim")))
    if found.unchanged:
        console.print()
        console.print(styled((f"unchanged ({len(found.unchanged)})", "bold green")))
        _show_names(console, found.unchanged)


def _show_names(console: Console, names: Sequence[str]) -> None:
    """As many on a line as there is room for; ``struct file`` is one."""
    text = "  ".join(name.replace(" ", "\xa0") for name in names)
    for line in _wrapped(text, "  "):
        console.print(styled(line.replace("\xa0", " ")))


def _style(change: Change) -> str:
    if not change.breaks:
        return "green" if change is Change.PROBEABLE else "cyan"
    return "red" if change in _WORST else "yellow"


_WORST = frozenset((Change.GONE, Change.INLINED, Change.REFUSED, Change.EVENT_GONE))


def _is_plain(difference: Difference) -> bool:
    """Whether there is nothing to say but the name."""
    return not (difference.new or difference.details)


def _show_one(console: Console, difference: Difference, limit: int) -> None:
    """The name, what it was and is, and what has changed."""
    change = difference.change
    if change in _IN_ONE_LINE:
        arrow = {Change.INLINED: "into", Change.MISSES_CALLS: "now"}.get(change, "->")
        line = f"{difference.name} {arrow} {difference.new}" if difference.new else difference.name
        if difference.details:
            line += f" ({'; '.join(difference.details)})"
        _print(console, [(each, "") for each in _wrapped(line, "  ", "      ")])
        return
    if change is Change.PARAMETER_NAME:
        line = f"{difference.name}: {', '.join(difference.details)}"
        _print(console, [(each, "") for each in _wrapped(line, "  ", "      ")])
        return
    lines = [(f"  {difference.name}", "bold")]
    if change in (Change.TYPE, Change.LAYOUT):
        if difference.old != difference.new:
            lines = [(f"  {difference.name}: {difference.old} -> {difference.new}", "bold")]
    else:
        for sign, text in (("-", difference.old), ("+", difference.new)):
            style = "red" if sign == "-" else "green"
            if text:
                lines += [(each, style) for each in _wrapped(text, f"    {sign} ")]
    details = difference.details
    if change in (Change.SIGNATURE, Change.TOLD_OTHERWISE):
        details = ()  # both prototypes stand there
    shown = details[:_DETAILS] if limit else details
    for detail in shown:
        lines += [(each, _DETAIL_STYLES.get(detail[0], "")) for each in _wrapped(detail, "    ")]
    if len(details) > len(shown):
        lines.append((f"    ... and {len(details) - len(shown)} more", "dim"))
    _print(console, lines)


_IN_ONE_LINE = frozenset(
    (Change.GONE, Change.RENAMED, Change.SUFFIXED, Change.INLINED, Change.MISSES_CALLS)
)
_DETAIL_STYLES = {"-": "red", "!": "yellow", "+": "green", ">": "dim"}


def _print(console: Console, lines: list[tuple[str, str]]) -> None:
    for text, style in lines:
        console.print(styled((text, style)))


def _wrapped(text: str, first: str, rest: str | None = None) -> Iterator[str]:
    """The text in lines of a terminal's width, all but the first indented further."""
    further = rest or " " * len(first) + ("    " if first.strip() else "")
    yield from wrapped(text, WIDTH, first, further)
