"""The flame graph, looked at in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from makers.trace_entries import ABOUT, ENTRIES, PROFILE

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import open_export

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_SVG = "{http://www.w3.org/2000/svg}"
_MATCHED = (0xB0, 0x6B, 0xD6)


def _graph(path: Path, entries: Iterable[TraceEntry]) -> Path:
    export = open_export(path, ABOUT)
    for entry in entries:
        export.add(entry)
    export.finish(PROFILE, 0)
    return export.path


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _graph(tmp_path_factory.mktemp("flames") / "t.svg", ENTRIES)


def _browse(folder: Path, *options: str) -> str:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no browser to look at a flame graph with: install chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def _frames(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [g for g in root.iter(f"{_SVG}g") if "frame" in g.get("class", "").split()]


def test_it_needs_nothing_but_itself(graph: Path) -> None:
    text = graph.read_text()
    assert "http" not in text.replace("http://www.w3.org/", "")
    root = ElementTree.fromstring(text)
    titles = [g.findtext(f"{_SVG}title") for g in _frames(root)]
    assert "all: 6 times, 100.00%" in titles
    assert 'cat "<&>: 4 times, 66.67%' in titles
    assert "get_page (inlined): 2 times, 33.33%" in titles


def test_without_entries_it_says_so(tmp_path: Path) -> None:
    path = _graph(tmp_path / "empty.svg", [])
    assert "nothing was recorded" in path.read_text()
    ElementTree.parse(path)


def test_a_browser_zooms_and_searches(graph: Path, tmp_path: Path) -> None:
    # Frame 1 is the task cat, the left one above "all".
    shown = _browse(tmp_path, "--dump-dom", f"{graph.as_uri()}#zoom=1&search=^do_read$")
    root = ElementTree.fromstring(shown[shown.index("<svg") :])
    assert next(t.text for t in root.iter() if t.get("id") == "matched") == (
        "matched: 6 of 6, 100.00%"
    )
    frames = {(g.get("data-name"), g.get("data-start")): g for g in _frames(root)}
    everything, cat = frames["all", "0"], frames['cat "<&>', "0"]
    assert "parent" in everything.get("class", "").split()
    assert float(cat.find(f"{_SVG}rect").get("width", 0)) == 1180  # type: ignore[union-attr]
    assert "hidden" in frames["swapper/0", "4"].get("class", "").split()
    matched = {name for (name, _), g in frames.items() if "match" in g.get("class", "").split()}
    assert matched == {"do_read"}


def test_a_browser_paints_what_matches(graph: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    root = ElementTree.parse(graph).getroot()
    width, height = root.get("width"), root.get("height")
    picture = tmp_path / "picture.png"
    options = (f"--window-size={width},{height}", f"--screenshot={picture}")
    _browse(tmp_path, *options, f"{graph.as_uri()}#search=swapper")
    pixels = image.open(picture).convert("RGB")
    for frame in _frames(root):
        rect = frame.find(f"{_SVG}rect")
        assert rect is not None
        x, y, wide = (float(rect.get(name, 0)) for name in ("x", "y", "width"))
        # Its colour is at its right end, where no letter is.
        colour = pixels.getpixel((int(x + wide - 6), int(y + 8)))
        assert (colour == _MATCHED) == (frame.get("data-name") == "swapper/0")
        assert max(colour) - min(colour) > 60, f"{frame.get('data-name')} is not painted"
