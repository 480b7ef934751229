"""What objects show in a notebook: tables, facts and bars, in whatever colours the page has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice

__all__ = ["MOST_ROWS", "bars", "facts", "grid", "page", "preformatted", "table"]

MOST_ROWS = 40
"""Of a table; what follows is only counted."""

_CELL = "padding:1px 10px 1px 0;text-align:left;vertical-align:top"
_CODE = "font-family:monospace;white-space:pre-wrap;max-width:60em"
_BAR = "display:inline-block;height:0.8em;background:#4e79a7"
_FAINT = "opacity:0.65"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    total: int | None = None,
) -> str:
    """A table of at most :data:`MOST_ROWS` rows; ``total`` says how many there are."""
    shown = [*islice(rows, MOST_ROWS)]
    parts = [_caption(caption), "<tr>", *(_cell(name, "th") for name in head), "</tr>"]
    for row in shown:
        parts += ["<tr>", *(_cell(value, "td") for value in row), "</tr>"]
    if total is not None and total > len(shown):
        rest = f"... and {total - len(shown):,} more"
        parts += [f'<tr><td colspan="{len(head)}" style="{_FAINT}">{rest}</td></tr>']
    return _table(parts)


def facts(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    """A title, and a line for each name with its value; what is ``None`` or "" is left out."""
    parts = [_caption(title)]
    for name, value in pairs:
        if value is None or value == "":
            continue
        parts += [f'<tr><td style="{_CELL};{_FAINT}">{escape(name)}</td>', _cell(value, "td")]
        parts += ["</tr>"]
    return _table(parts)


def grid(title: str, values: Iterable[object], columns: int = 4) -> str:
    """Values that belong together, such as the registers of a CPU, some in a row."""
    parts, rest = [_caption(title)], iter(values)
    while row := [*islice(rest, columns)]:
        parts += ["<tr>", *(_cell(value, "td") for value in row), "</tr>"]
    return _table(parts)


def bars(title: str, pairs: Iterable[tuple[object, int]], *, total: int | None = None) -> str:
    """A bar for each name, as long as its number says; ``total`` as for :func:`table`."""
    shown = [*islice(pairs, MOST_ROWS)]
    most = max((number for _, number in shown), default=0) or 1
    parts = [_caption(title)]
    for name, number in shown:
        bar = f'<span style="{_BAR};width:{round(240 * number / most)}px"></span>'
        parts += ["<tr>", _cell(name, "td"), _cell(f"{number:,}", "td")]
        parts += [f'<td style="{_CELL}">{bar}</td></tr>']
    if total is not None and total > len(shown):
        rest = f"... and {total - len(shown):,} more"
        parts += [f'<tr><td colspan="3" style="{_FAINT}">{rest}</td></tr>']
    return _table(parts)


def preformatted(text: str) -> str:
    """Lines that stay as they are."""
    return f"<pre>{escape(text)}</pre>"


def page(title: str, body: str) -> str:
    """A document with ``body``, which is HTML already; ``title`` is text."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    style = "<style>body{font-family:sans-serif;margin:2em}table{margin-bottom:1.5em}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}{style}</head><body><h1>{escape(title)}</h1>'
        f"{body}</body></html>\n"
    )


def _caption(text: str) -> str:
    style = "text-align:left;caption-side:top;font-weight:bold;white-space:nowrap"
    return f'<caption style="{style}">{escape(text)}</caption>' if text else ""


def _cell(value: object, tag: str) -> str:
    return f'<{tag} style="{_CELL};{_CODE}">{escape(str(value))}</{tag}>'


def _table(parts: Sequence[str]) -> str:
    return f'<table style="border-collapse:collapse">{"".join(parts)}</table>'
