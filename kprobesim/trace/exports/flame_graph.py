"""A flame graph: one SVG that needs nothing else, to be zoomed and searched in any browser.

Its script is in flame_graph.js beside this file. Without a script it is a picture with tool tips.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, Export, ProfileRow
from kprobesim.trace.exports.folded_file import INLINED, StackCounts

__all__ = ["FlameGraph"]

_WIDTH, _MARGIN, _ROW, _HEAD, _FOOT = 1200, 10, 18, 64, 34
_LETTER = 7.25  # pixels of one, at 12 pixels of a monospaced font
_LEAST = 0.2  # pixels that a function needs to be seen
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = """\
svg { width: 100%; max-width: 1800px; height: auto; }
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1c1c1c; }
.title { font-size: 16px; font-weight: 600; }
.note, .detail { fill: #555; }
.frame { cursor: pointer; }
.frame:hover rect { stroke: #1c1c1c; stroke-width: 1; }
.frame.parent { opacity: .55; }
.frame.match rect { fill: #b06bd6; }
.frame text { pointer-events: none; }
.button { cursor: pointer; fill: #2456a6; }
.hidden { display: none; }
input { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; width: 100%; height: 100%;
  box-sizing: border-box; border: 1px solid #999; border-radius: 3px; padding: 0 6px; }
"""


@dataclass
class _Node:
    """One function below those that called it."""

    name: str
    count: int = 0
    children: dict[str, _Node] = field(default_factory=dict)

    def rows(self) -> Iterator[list[_Node]]:
        """The functions of each row, from the lowest."""
        row = [self]
        while row:
            yield row
            row = [child for node in row for child in node.children.values()]


class FlameGraph(Export):
    """The graph of all stacks; the first row are the tasks."""

    stacks = True

    def __init__(self, file: IO[Any], about: About) -> None:
        self._file, self._counts = file, StackCounts(about.names)
        self._title = f"{about.release or 'kernel'} {about.arch}"

    def add(self, entry: TraceEntry) -> None:
        self._counts.add(entry)

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        root = _Node("all")
        for stack, count in self._counts.by_name().items():
            _add(root, stack, count)
        hits = ", ".join(f"{row.event} {row.hits}" for row in profile if row.hits)
        self._file.writelines(_svg(root, self._title, hits))


def _add(root: _Node, stack: Sequence[str], count: int) -> None:
    root.count += count
    node = root
    for name in stack:
        node = node.children.setdefault(name, _Node(name))
        node.count += count


def _svg(root: _Node, title: str, hits: str) -> Iterator[str]:
    rows = list(root.rows())
    height = _HEAD + _ROW * len(rows) + _FOOT
    inlined = any(node.name.endswith(INLINED) for row in rows for node in row)
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" data-total="{root.count}">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE}</style>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="#fdfcf9"/>\n'
        f'<text class="title" x="{_MARGIN}" y="26">{_text(title)}</text>\n'
        f'<text class="note" x="{_MARGIN}" y="46">{_text(_short(hits, _WIDTH - 420))}</text>\n'
        f'<text class="button hidden" id="reset" x="{_WIDTH - 390}" y="27">reset</text>\n'
        f'<text class="note" id="matched" x="{_WIDTH - _MARGIN}" y="50" text-anchor="end"></text>\n'
        f'<foreignObject x="{_WIDTH - 330}" y="10" width="320" height="24">'
        '<input xmlns="http://www.w3.org/1999/xhtml" id="search" type="search" '
        'placeholder="search: a regular expression"/></foreignObject>\n'
        '<g id="frames">\n'
    )
    if root.count:
        yield from _rows(root, root.count, height - _FOOT - _ROW)
    yield (
        f'</g>\n<text class="detail" id="detail" x="{_MARGIN}" y="{height - 12}"></text>\n'
        f'<text class="note" x="{_WIDTH - _MARGIN}" y="{height - 12}" text-anchor="end">'
        f"{'green: inlined' * inlined}</text>\n"
        f"<script><![CDATA[\n{script}]]></script>\n</svg>\n"
    )


def _rows(root: _Node, total: int, bottom: int) -> Iterator[str]:
    """Each node, those of a lower row first."""
    scale = (_WIDTH - 2 * _MARGIN) / total
    level = [(root, 0)]
    y = bottom
    while level:
        above: list[tuple[_Node, int]] = []
        for node, start in level:
            yield _frame(node, start, y, scale, total)
            for child in sorted(node.children.values(), key=lambda child: child.name):
                if child.count * scale >= _LEAST:
                    above.append((child, start))
                start += child.count
        level, y = above, y - _ROW


def _frame(node: _Node, start: int, y: int, scale: float, total: int) -> str:
    width = node.count * scale
    name = node.name.removesuffix(INLINED)
    what = name + " (inlined)" * (name != node.name)
    times = "1 time" if node.count == 1 else f"{node.count:,} times"
    return (
        f'<g class="frame" data-name="{_text(name)}" data-start="{start}" '
        f'data-count="{node.count}"><title>{_text(what)}: {times}, {node.count / total:.2%}</title>'
        f'<rect x="{_MARGIN + start * scale:.2f}" y="{y}" width="{width:.2f}" '
        f'height="{_ROW - 1}" rx="2" fill="{_colour(node.name)}"/>'
        f'<text x="{_MARGIN + start * scale + 4:.2f}" y="{y + 13}">{_text(_short(name, width))}'
        "</text></g>\n"
    )


def _colour(name: str) -> str:
    """Warm for functions, green for inlined ones; the same for a name in every graph."""
    seed = zlib.crc32(name.encode("utf-8", "replace"))
    hue = 95 + seed % 40 if name.endswith(INLINED) else 14 + seed % 36
    return f"hsl({hue} {70 + (seed >> 8) % 20}% {64 + (seed >> 16) % 10}%)"


def _short(text: str, width: float) -> str:
    """As much of ``text`` as fits; the script does the same."""
    letters = int((width - 8) / _LETTER)
    if letters < 3:
        return ""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("?", text), {'"': "&quot;"})
