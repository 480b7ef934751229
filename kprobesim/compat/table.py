"""The table for people: probes down, kernels across, and the reasons under it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby

from kprobesim.compat.columns import Line, arch_letter, name_width, series, short
from kprobesim.compat.finding import Answer, AskedKernel, Compatibility, Finding
from kprobesim.compat.kinds import Kind, Level
from kprobesim.sources.wanted import SourceKind, Wanted
from kprobesim.wrapping import WIDTH, wrapped

__all__ = ["table"]

_MOST_KERNELS = 3
_MOST_REASONS = 6
_MOST_INSTEAD = 4
_MOST_WELL = 12
_DIM, _BOLD = "dim", "bold"


def table(found: Compatibility, allowed: Collection[Kind] = ()) -> Iterable[Line]:
    """The lines of the table; the worst probes come first.

    Args:
        found: The answers.
        allowed: Classes that are no failure: they are shown, and not in the sum.
    """
    every = _rows(found)
    lines = Counter(wanted.but_for_line for wanted, _ in every)
    firsts: dict[tuple[object, ...], _Row] = {}
    for row in every:
        firsts.setdefault(row[0].but_for_line, row)
    rows = list(firsts.values())
    shown = [row for row in rows if not _is_well(row)]
    if len(rows) - len(shown) <= _MOST_WELL:
        shown = rows
    if shown:
        for block in _blocks(found.kernels, shown):
            yield from _grid(shown, block)
            yield []
        yield from _legend(shown)
    if len(shown) < len(rows):
        well = [wanted.text for wanted, _ in rows[len(shown) :]]
        yield []
        yield [(f"{len(well)} more are well on {_all(found.kernels)}:", "green")]
        yield from _wrapped(", ".join(dict.fromkeys(well)), "  ", "")
    yield from _reasons(rows, lines, found.kernels)
    yield from _wholes(found)
    for problem in found.problems:
        yield from _wrapped(str(problem), "", "bold red")
    yield from _sum(found, every, allowed)


_Row = tuple[Wanted, Sequence[Answer]]
_Block = list[tuple[str, list[int]]]
"""Groups of columns: their heading, and the numbers of the kernels."""


def _rows(found: Compatibility) -> list[_Row]:
    width = len(found.kernels)
    rows = [
        (found.answers[at].wanted, found.answers[at : at + width])
        for at in range(0, len(found.answers), width or 1)
    ]
    return sorted(rows, key=_badness)


def _is_well(row: _Row) -> bool:
    return all(answer.level is Level.FINE for answer in row[1])


def _all(kernels: Sequence[AskedKernel]) -> str:
    return f"all {len(kernels)} kernels" if len(kernels) > 1 else kernels[0].label


def _badness(row: _Row) -> tuple[int, int]:
    worst = [answer.worst.kind.severity for answer in row[1]]
    wrong = sum(answer.level >= Level.SILENT for answer in row[1])
    level = max(answer.level for answer in row[1])
    return -int(level), -wrong * 100 - max(worst)


# -- the grid --------------------------------------------------------------------------------------


def _groups(kernels: Sequence[tuple[int, AskedKernel]]) -> _Block:
    return [
        (name, [number for number, _ in group])
        for name, group in groupby(kernels, key=lambda one: series(one[1]))
    ]


def _blocks(kernels: Sequence[AskedKernel], rows: Sequence[_Row]) -> list[_Block]:
    """The groups of columns, in as many tables as are needed to be narrow enough."""
    room = WIDTH - name_width(wanted.text for wanted, _ in rows) - 1
    blocks: list[_Block] = [[]]
    used = 0
    for name, numbers in _split(_groups(list(enumerate(kernels))), room):
        width = max(len(name), len(numbers)) + 1
        if used + width > room and blocks[-1]:
            blocks.append([])
            used = 0
        blocks[-1].append((name, numbers))
        used += width
    return blocks


def _split(groups: _Block, room: int) -> Iterable[tuple[str, list[int]]]:
    for name, numbers in groups:
        for start in range(0, len(numbers), room - 1):
            yield name, numbers[start : start + room - 1]


def _grid(rows: Sequence[_Row], block: _Block) -> Iterable[Line]:
    width = name_width(wanted.text for wanted, _ in rows)
    answers = rows[0][1]
    heads: Line = [(" " * width, "")]
    arches: Line = [(" " * width, "")]
    for name, numbers in block:
        size = max(len(name), len(numbers))
        heads.append((" " + name.ljust(size), _BOLD))
        letters = "".join(arch_letter(answers[n].kernel.arch) for n in numbers)
        arches.append((" " + letters.ljust(size), _DIM))
    yield heads
    yield arches
    for wanted, row in rows:
        line: Line = [(short(wanted.text, width).ljust(width), "")]
        for name, numbers in block:
            size = max(len(name), len(numbers))
            line.append((" ", ""))
            line += [(row[n].worst.kind.glyph, row[n].worst.kind.style) for n in numbers]
            line.append((" " * (size - len(numbers)), ""))
        yield line


def _legend(rows: Sequence[_Row]) -> Iterable[Line]:
    used = {answer.worst.kind for _, row in rows for answer in row}
    for kind in sorted(used, key=lambda one: -one.severity):
        yield [("  ", ""), (kind.glyph, kind.style), (f"  {kind.legend} ", ""), (f"({kind})", _DIM)]
    arches = {answer.kernel.arch for answer in rows[0][1]}
    letters = ", ".join(f"{arch_letter(arch)} {arch}" for arch in sorted(arches))
    yield [(f"  columns are kernels by release: {letters}", _DIM)]


# -- the reasons -----------------------------------------------------------------------------------


def _reasons(
    rows: Sequence[_Row], lines: Mapping[tuple[object, ...], int], kernels: Sequence[AskedKernel]
) -> Iterable[Line]:
    for wanted, row in rows:
        if _is_well((wanted, row)):
            continue
        yield []
        more = lines[wanted.but_for_line] - 1
        place = wanted.source + (f":{wanted.line}" if wanted.line else "")
        place += f" and {more:,} more line{'s' if more > 1 else ''}" if more else ""
        yield [(wanted.text, _BOLD), (f"  {place}", _DIM)]
        grouped: dict[tuple[Kind, str], list[tuple[Answer, Finding]]] = {}
        for answer in row:
            for finding in answer.findings:
                if finding.level is not Level.FINE:
                    key = finding.kind, finding.message
                    grouped.setdefault(key, []).append((answer, finding))
        shown = sorted(grouped.items(), key=lambda one: (-one[0][0].severity, -len(one[1])))
        for (kind, _), cases in shown[:_MOST_REASONS]:
            yield from _reason(kind, cases, kernels)
        if len(shown) > _MOST_REASONS:
            yield [(f"  and {len(shown) - _MOST_REASONS} more: see --json", _DIM)]


def _reason(
    kind: Kind, cases: list[tuple[Answer, Finding]], kernels: Sequence[AskedKernel]
) -> Iterable[Line]:
    finding = cases[0][1]
    number = f"-{finding.errno_name}: " if finding.errno else ""
    sure = "" if finding.certainty == "exact" else f" ({finding.certainty}, by {finding.found_by})"
    where = _where([answer.kernel for answer, _ in cases], kernels)
    yield from _wrapped(f"{number}{finding.message}{sure}", f"  {kind.glyph} ", kind.style)
    yield from _wrapped(f"on {where}", "      ", _DIM)
    instead = Counter(one for _, finding in cases for one in finding.instead)
    if instead:
        most = [one for one, _ in instead.most_common(_MOST_INSTEAD)]
        yield from _wrapped(f"instead: {'; '.join(most)}", "      ", "cyan")


def _wholes(found: Compatibility) -> Iterable[Line]:
    """Objects of which one program is refused: libbpf then loads or attaches none of the others."""
    objects = {str(one.path) for one in found.sources if one.kind is SourceKind.BPF_OBJECT}
    failing: dict[str, list[AskedKernel]] = {}
    for answer in found.answers:
        if answer.wanted.source in objects and answer.level is Level.ERROR:
            failing.setdefault(answer.wanted.source, []).append(answer.kernel)
    for source, kernels in failing.items():
        these = [kernel for kernel in found.kernels if kernel in kernels]
        text = f"{source} fails as a whole on {_where(these, found.kernels)}: its skeleton loads "
        yield []
        yield from _wrapped(text + "and attaches all of its programs or none", "", "bold")


def _where(these: Sequence[AskedKernel], kernels: Sequence[AskedKernel]) -> str:
    if len(these) == len(kernels):
        return _all(kernels)
    if len(these) <= _MOST_KERNELS:
        return ", ".join(kernel.label for kernel in these)
    places = [kernels.index(kernel) for kernel in these]
    if places == list(range(places[0], places[-1] + 1)):
        return f"{these[0].label} to {these[-1].label}, {len(these)} kernels"
    arches = {kernel.arch for kernel in these}
    if len(arches) == 1 and len(these) == sum(kernel.arch in arches for kernel in kernels):
        return f"all {len(these)} kernels of {arches.pop()}"
    others = [kernel.label for kernel in kernels if kernel not in these]
    if len(others) <= _MOST_KERNELS:
        return f"{len(these)} kernels, all but {', '.join(others)}"
    first = ", ".join(kernel.label for kernel in these[:_MOST_KERNELS])
    return f"{first} and {len(these) - _MOST_KERNELS} more"


def _wrapped(text: str, lead: str, style: str) -> Iterable[Line]:
    for number, line in enumerate(wrapped(text, WIDTH - len(lead))):
        yield [(lead if number == 0 else " " * len(lead), style), (line, style)]


def _sum(found: Compatibility, rows: Sequence[_Row], allowed: Collection[Kind]) -> Iterable[Line]:
    wrong = sum(any(answer.counts(allowed) for answer in row) for _, row in rows)
    kernels = f"{len(found.kernels)} kernel{'s' if len(found.kernels) != 1 else ''}"
    probes = f"{len(rows)} probe{'s' if len(rows) != 1 else ''}"
    yield []
    if not rows:
        yield [("nothing was answered", "bold red")]
    elif wrong:
        yield [(f"{wrong} of {probes} not well on {kernels}", "bold red")]
    else:
        yield [(f"{probes} well on {kernels}", "bold green")]
