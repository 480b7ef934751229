"""What objects show in a notebook: HTML that is whole, and nothing of the guest is a tag in it."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from kprobesim import Kernel, Kprobe, call, html, pct
from kprobesim.programs import arg

VOID = {"br", "meta"}


class Page(HTMLParser):
    """Reads HTML; every tag must be closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def cells(thing: Any) -> list[str]:
    return Page(thing._repr_html_()).cells


def test_each_shows_itself(arch: str) -> None:
    k = Kernel.sample(arch)
    hits: list[Any] = []
    k.on_hit(hits.append)
    p = Kprobe("gcd", pre_handler=lambda p, regs: None)
    k.register_kprobe(p)
    counts = k.count(["gcd", "strlen"])
    sizes = k.histogram("gcd", arg(0), log2=True)
    by_key, ring = k.count("gcd", key=arg(1)), k.record("gcd", a=arg(0), b=arg(1))
    for n in range(1, 5):
        k.call("gcd", 6 * n, n)
    assert {"architecture", arch, "kprobes"} <= set(cells(k))
    assert {"gcd", "answer"} <= set(cells(k.check("gcd")))
    refused = cells(k.check("no_such"))
    assert any("ENOENT" in cell for cell in refused)
    assert {p.place, "event", "hit"} <= set(cells(hits[0]))
    assert cells(hits[0].regs)[0] == "registers"
    assert len(cells(hits[0].regs)) == 1 + len(hits[0].regs.as_dict())
    assert cells(counts) == ["Counts of 2 functions, 4 hits", "gcd", "4"]
    assert cells(sizes)[:3] == ["4 hits", "4 .. 7", "1"]
    assert cells(by_key)[1:3] == ["1", "1"]
    assert cells(ring)[:5] == ["Ring of 4 record records, 0 lost", "a", "b", "6", "1"]
    assert cells(k.count("gcd")) == ["0"]
    assert {"nmissed", "0"} <= set(cells(p))
    assert "gcd" in "".join(cells(k.kprobes))
    assert "function" in cells(k.stack_trace())


def test_long_tables_are_counted() -> None:
    rows = [(n, "<b>") for n in range(100)]
    shown = Page(html.table(["n", "text"], rows, total=len(rows))).cells
    assert shown[-1] == "... and 60 more"
    assert shown.count("<b>") == html.MOST_ROWS
    assert Page(html.bars("", [(n, n) for n in range(50)], total=50)).cells[-1] == "... and 10 more"


def test_what_a_race_has_found(arch: str) -> None:
    k = Kernel.sample(arch)
    fork = call("do_fork", 0, 0)
    shown = cells(k.race(a=fork, b=fork))
    assert shown[:2] == ["1 failure", "tried"]
    assert any(cell.startswith("data race: ") for cell in shown)
    assert any(cell.startswith("a on CPU 0") for cell in shown)
    assert any("called by" in cell for cell in shown)
    assert any(cell.startswith("kps1:") for cell in shown)
    none = cells(k.race(a=fork, b=fork, data_races=False, preemptions=0))
    assert none == ["no failure", "tried", none[2], "places by CPU", none[4]]


def test_a_long_race_tells_how_far_it_is(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    class Line:
        def update(self, shown: dict[str, str], raw: bool) -> None:
            lines.append(shown["text/plain"])

    def display(shown: dict[str, str], raw: bool, display_id: bool) -> Line:
        lines.append(shown["text/plain"])
        return Line()

    shell = SimpleNamespace(kernel=True)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    for name in ("_PATIENCE", "_EVERY"):
        monkeypatch.setattr(f"kprobesim.notebook.{name}", 0.0)
    k = Kernel.sample(arch)
    fork = call("do_fork", 0, 0)
    found = k.race(a=fork, b=fork, data_races=False, explore=pct(runs=130))
    assert lines == ["64 of some 130 schedules", "128 of some 130 schedules", ""]
    told: list[str] = []
    k.race(a=fork, b=fork, data_races=False, explore=pct(runs=130), progress=told.append)
    assert told == lines[:2]
    assert len(lines) == 3
    assert found.schedules == 130
