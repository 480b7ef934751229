"""A script or one-liner of bpftrace's as a source."""

from __future__ import annotations

import bisect
import re
import shlex

from kprobesim.errors import UsageError
from kprobesim.sources.bpftrace.attach_points import AttachPoint, parse_attach_point
from kprobesim.sources.bpftrace.providers import ALIASES, KERNEL, PASSED
from kprobesim.sources.bpftrace.reads import Reads, overrides
from kprobesim.sources.bpftrace.script import Clause, Script, parse_script
from kprobesim.sources.bpftrace.tokens import strip
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.text import MAX_LINE
from kprobesim.sources.wanted import Interface, WantedArgument

__all__ = ["is_attach_point", "is_bpftrace", "is_one_liner", "read_bpftrace", "read_one_liners"]

_NAMES = "|".join(sorted({*KERNEL, *PASSED, *ALIASES}, key=len, reverse=True))
_TELLING = "|".join(
    name
    for name in (*KERNEL, *PASSED, *ALIASES)
    if ALIASES.get(name, name) in KERNEL or name in PASSED
)
_ATTACH_POINT = re.compile(rf"\s*({_NAMES}):\S+\s*")
_CLAUSE = re.compile(
    rf"^[ \t]*(?:(?:BEGIN|END|begin|end)\s*\{{|(?:{_TELLING}):[^\s{{,]+\s*(?:,|\{{|$|\s/))",
    re.MULTILINE,
)
_SHEBANG = re.compile(r"#!.*\bbpftrace\b")
_ONE_LINER = re.compile(
    r"(?:^|[;&|!($#]|\b(?:if|then|do|sudo))\s*(?:[\w./~-]{0,200}/)?bpftrace\b.{0,1000}?\s-e\s",
    re.MULTILINE,
)
_TOP = re.compile(
    rf"\s*(?:BEGIN\b|END\b|begin\b|end\b|(?:\w+=)?(?:{_NAMES}):"
    r"|(?:struct|union|enum|typedef|config|import|macro|fn|let)\b)"
)


def is_bpftrace(text: str) -> bool:
    """Whether a text is a script of bpftrace's, by what stands in it."""
    if text.startswith("#!"):
        return _SHEBANG.match(text) is not None
    if "{" not in text or _CLAUSE.search(text) is None:
        return False
    return _TOP.match(strip(text[:MAX_LINE])) is not None  # behind comments and #include


def is_attach_point(line: str) -> bool:
    """Whether a line is nothing but an attach point."""
    return _ATTACH_POINT.fullmatch(line) is not None


def is_one_liner(line: str) -> bool:
    """Whether a line of a shell's calls ``bpftrace -e``."""
    return _ONE_LINER.search(line) is not None


def read_one_liners(text: str, reading: Reading) -> None:
    """Tell ``reading`` of the program of each ``bpftrace -e '...'`` in a shell script."""
    for found in _ONE_LINER.finditer(text):
        line = text.count("\n", 0, found.end())
        try:
            program = _first_word(text[found.end() : found.end() + MAX_LINE])
        except ValueError:
            reading.problem(line + 1, "the quotes round the program behind -e do not end")
            continue
        read_bpftrace(program, reading, line)


def _first_word(text: str) -> str:
    words = shlex.shlex(text, posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.commenters = ""
    return words.get_token() or ""


class _Lines:
    """Which line and column a place of a text is in, both from 1; ``before`` lines precede it."""

    def __init__(self, text: str, before: int) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._before = before

    def line(self, at: int) -> int:
        return bisect.bisect_right(self._starts, at) + self._before

    def column(self, at: int) -> int:
        return at - self._starts[bisect.bisect_right(self._starts, at) - 1] + 1


def read_bpftrace(text: str, reading: Reading, line_before: int = 0) -> None:
    """Tell ``reading`` of the probes of one script, which begins behind line ``line_before``."""
    script = parse_script(text)
    lines = _Lines(script.text, line_before)
    for problem, at in script.problems:
        reading.problem(lines.line(at), problem, lines.column(at))
    for name, at in script.imports:
        reading.note(lines.line(at), f"imports {shown(name)}: name that as a source, too")
    reads = Reads(script.text, script.own_types)
    for clause in script.clauses:
        _read_clause(script, clause, reads, reading, lines)


def _read_clause(
    script: Script, clause: Clause, reads: Reads, reading: Reading, lines: _Lines
) -> None:
    points: list[tuple[AttachPoint, int]] = []
    for text, at in clause.points:
        try:
            points.extend((point, lines.line(at)) for point in parse_attach_point(text))
        except UsageError as error:
            reading.problem(lines.line(at), f"{shown(text)}: {error}", lines.column(at))
    walked = [point.point.symbol for point, _ in points if point.provider == "iter"]
    context = f"struct bpf_iter__{walked[0]}" if walked else None
    arguments = reads.of(clause.words, context)
    changes = overrides(clause.words)
    start = len(reading.wanted)
    for point, number in points:
        if point.interface is None:
            reading.note(number, f"{shown(point.text)}: {point.why}")
            continue
        reading.want(
            point.text,
            number,
            point.interface,
            point.point.symbol,
            offset=point.point.offset,
            address=point.point.address,
            module=point.point.module,
            returns=point.returns,
            pattern=point.point.pattern,
            optional=script.missing in ("warn", "ignore"),
            overrides=changes and point.interface is Interface.KPROBE_PERF,
            arguments=_fitting(point, arguments),
        )
    reading.alternatives(range(start, len(reading.wanted)))


def _fitting(
    point: AttachPoint, arguments: tuple[WantedArgument, ...]
) -> tuple[WantedArgument, ...]:
    """Without those that this kind of probe does not have: a clause may serve several kinds."""
    if point.interface in (Interface.TRACEPOINT, Interface.ITER):
        return tuple(one for one in arguments if one.ordinal is None and not one.returned)
    return arguments
