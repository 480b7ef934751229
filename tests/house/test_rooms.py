"""The promises of docs/design.md about the rooms: who imports whom, how long a file is."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from house.package_trees import FILES, PACKAGE, tree

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
ABOVE_ALL = {"__init__", "__main__"}  # the face: may import everything, and nobody imports it


def _rooms() -> list[str]:
    """The rooms in the order of the table in docs/design.md, the lowest floor first."""
    table = (ROOT / "docs/design.md").read_text().split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    names = [re.findall(r"`([a-z_]+)(?:/[a-z0-9_]+)*(?:/|\.py)?`", row) for row in rows]
    return list(dict.fromkeys(name for row in names for name in row))


ROOMS = _rooms()


def _room(module: str) -> str:
    """The room of ``kprobesim.room.file``."""
    return (*module.split("."), "__init__")[1]


@cache
def _imports(path: Path) -> set[str]:
    """The modules of ours that ``path`` imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] == "kprobesim"}


def _others(path: Path) -> set[str]:
    """The top level packages, not ours, that ``path`` imports."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE).with_suffix(""))


def test_every_room_is_in_the_table() -> None:
    here = {_name(path).split("/")[0] for path in FILES} - ABOVE_ALL
    assert here == set(ROOMS)


def test_a_file_imports_only_from_its_room_and_those_above_it() -> None:
    wrong = {}
    for path in FILES:
        room = _name(path).split("/")[0]
        if room not in ABOVE_ALL:
            allowed = {*ROOMS[: ROOMS.index(room) + 1], "__init__"}
            wrong[_name(path)] = {name for name in _imports(path) if _room(name) not in allowed}
    assert {name: modules for name, modules in wrong.items() if modules} == {}


NEVER = {
    "boot": {"kprobes", "inside", "unbooted"},
    "unbooted": {"kprobes", "boot", "inside"},
    "stack": {"kprobes", "boot"},
    "inside": {"kprobes"},
    "kprobes": {"boot", "inside", "unbooted"},
    "functions": {"machine", "boot", "unbooted", "inside"},
    "snapshot": {"image", "machine", "boot"},
    "arch": {"machine", "kprobes", "patching"},
    "image": {"machine", "arch/x86_64", "arch/arm64", "kprobes"},
}
"""What a room never imports, whatever the order of the table says."""


def _is_in(module: str, place: str) -> bool:
    return f"{module}.".startswith(f"kprobesim.{place.replace('/', '.')}.")


@pytest.mark.parametrize("room", NEVER)
def test_rooms_that_know_nothing_of_each_other(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        wrong = {
            name for name in _imports(path) if any(_is_in(name, other) for other in NEVER[room])
        }
        assert not wrong, f"{_name(path)} must not import {sorted(wrong)}"


def test_only_one_room_touches_unicorn() -> None:
    touching = {_name(path) for path in FILES if "unicorn" in _others(path)}
    apart = {"bench/plain", "bench/report"}  # the rival in the benchmark, and its version
    assert {name for name in touching - apart if not name.startswith("machine/unicorn/")} == set()


def test_a_file_is_short_and_says_what_it_is() -> None:
    lines = {_name(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert [_name(path) for path in FILES if not ast.get_docstring(tree(path))] == []
