"""The table of ``--run`` for people: how often each probe hit, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kprobesim.compat.columns import Line, arch_letter, name_width, series, short
from kprobesim.compat.finding import Answer, Compatibility, Hits
from kprobesim.compat.kinds import Level
from kprobesim.wrapping import WIDTH

__all__ = ["hits_table"]

_LEAST_CELL = 6
_DIM = "dim"
_TITLE = "hits: boot + lines"


def hits_table(found: Compatibility) -> Iterable[Line]:
    """The lines of the table; none if nothing was counted."""
    width = len(found.kernels)
    rows = [found.answers[at : at + width] for at in range(0, len(found.answers), width or 1)]
    rows = [row for row in rows if any(answer.hits is not None for answer in row)]
    if not rows:
        return
    named = name_width(row[0].wanted.text for row in rows)
    heads = [_head(answer) for answer in rows[0]]
    cells = [[_cell(answer.hits) for answer in row] for row in rows]
    size = max(_LEAST_CELL, *(len(text) for row in [heads, *cells] for text in row)) + 1
    room = max((WIDTH - named) // size, 1)
    for start in range(0, width, room):
        columns = range(start, min(start + room, width))
        yield []
        title = _TITLE if start == 0 else ""
        yield [(title.ljust(named), "bold"), ("".join(heads[n].rjust(size) for n in columns), _DIM)]
        for row, texts in zip(rows, cells, strict=True):
            yield [
                (short(row[0].wanted.text, named).ljust(named), ""),
                *((texts[n].rjust(size), _style(row[n].hits)) for n in columns),
            ]
    yield from _remarks(rows)


def _head(answer: Answer) -> str:
    return series(answer.kernel) + arch_letter(answer.kernel.arch)


def _cell(hits: Hits | None) -> str:
    if hits is None or hits.problem:
        return "-"
    return _both(hits.boot.hits, hits.lines.hits) if hits.all.hits else "never"


def _style(hits: Hits | None) -> str:
    if hits is None or hits.problem:
        return _DIM
    if hits.all.nmissed or hits.all.lost or not hits.lines.hits:
        return "yellow"
    return "green"


def _remarks(rows: Sequence[Sequence[Answer]]) -> Iterable[Line]:
    """What a number alone does not say."""
    for row in rows:
        for answer in row:
            hits = answer.hits
            where = f"  {answer.wanted.text} on {answer.kernel.label}: "
            if hits is None:
                continue
            if hits.problem and answer.level is not Level.ERROR:  # else it was told already
                yield [(where, _DIM), (f"not counted: {hits.problem}", "")]
            if hits.all.nmissed:
                text = f"{_both(hits.boot.nmissed, hits.lines.nmissed)} more were missed (nmissed)"
                yield [(where, _DIM), (text, "yellow")]
            if hits.all.lost:
                lost = _both(hits.boot.lost or 0, hits.lines.lost or 0)
                text = f"{lost} calls ran an inlined copy, which it does not see"
                yield [(where, _DIM), (text, "yellow")]


def _both(boot: int, lines: int) -> str:
    return f"{boot:,} + {lines:,}"
