"""``kprobesim catalog``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kprobesim.catalog.file import open_catalog

Cli = Callable[..., Any]


@pytest.fixture
def folder(cli: Cli, sample: Path, tmp_path: Path) -> Path:
    """A folder with the catalogue of a sample guest."""
    assert cli("catalog", "build", sample, "-o", tmp_path / "kernels").code == 0
    return tmp_path / "kernels"


def test_build_says_what_it_does_and_keeps_what_is_there(
    cli: Cli, folder: Path, sample: Path
) -> None:
    again = cli("catalog", "build", sample, sample.parent / "README.md", "-o", folder, "--json")
    assert again.code == 1 and "(2 of 2)" in again.err
    kept, bad = json.loads(again.out)
    assert kept["kept"] and kept["error"] is None and Path(kept["file"]).parent == folder
    assert bad["file"] is None and "README.md" in bad["error"]
    assert cli("catalog", "build", folder, "-o", folder).code == 2  # only catalogues


def test_a_query_in_three_forms(cli: Cli, folder: Path, arch: str) -> None:
    sql = (
        "SELECT name, size, kind, clones FROM functions WHERE name IN ('gcd', 'fib') ORDER BY name"
    )
    outcome = cli("catalog", "query", sql, folder)
    assert outcome.lines[0].split() == ["name", "size", "kind", "clones"]
    assert [line.split()[0] for line in outcome.lines[1:]] == ["fib", "gcd"]
    rows = cli("catalog", "query", sql, folder, "--json").data
    assert [row["name"] for row in rows] == ["fib", "gcd"] and rows[0]["clones"] == []
    assert rows[0]["kind"] in ({"x86_64": ("int3", "jump", "ftrace"), "arm64": ("brk",)}[arch])
    text = cli("catalog", "query", sql, folder, "--csv").out
    assert [row["size"] for row in csv.DictReader(io.StringIO(text))] == [
        str(row["size"]) for row in rows
    ]
    cli("catalog", "query", "SELECT nonsense", folder).refused(2, "DuckDB says", "nonsense")


def test_list_and_info(cli: Cli, folder: Path, arch: str) -> None:
    (one,) = cli("catalog", "list", folder, "--json").data
    assert one["arch"] == arch and one["functions"] > 50 and one["source"]["file"].endswith(".elf")
    assert one["release"] in cli("catalog", "list", folder).out
    out = cli("catalog", "info", folder).out
    assert one["release"] in out and "made of" in out
    (file,) = folder.iterdir()
    file.with_name("bad.parquet").write_bytes(file.read_bytes()[:-9])
    some = cli("catalog", "list", folder)
    assert some.code == 1 and "bad.parquet" in some.err and one["release"] in some.out
    cli("catalog", "info", folder / "bad.parquet").refused(1, "bad.parquet", "build it again")


def test_damage_is_told_by_who_verifies(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (file,) = folder.glob("*.parquet")
    assert "every checksum is right" in cli("catalog", "info", file, "--verify").out
    damaged = tmp_path / file.name
    data = bytearray(file.read_bytes())
    data[data.index(open_catalog(file).section("image")) + 7] ^= 1
    damaged.write_bytes(data)
    outcome = cli("catalog", "info", damaged, "--verify", "--json")
    assert outcome.code == 1 and "is damaged" in json.loads(outcome.out)[0]["verified"]


def test_a_folder_without_catalogues(cli: Cli, tmp_path: Path) -> None:
    cli("catalog", "list", tmp_path).refused(2, "no catalogue", "catalog build")
    cli("catalog", "query", "SELECT 1", tmp_path / "none").refused(2, "no such file")


def test_commands_take_a_catalogue(cli: Cli, folder: Path, sample: Path) -> None:
    (file,) = folder.iterdir()
    for words in (["gcd", "gcd+4", "--json"], ["--all", "gcd"], ["no_such_function"]):
        here, there = cli("check", sample, *words), cli("check", file, *words)
        assert (here.code, here.out) == (there.code, there.out)
    assert cli("disasm", file, "gcd").out == cli("disasm", sample, "gcd").out
    here, there = (cli("info", path, "--json").data for path in (sample, file))
    assert {**here, "file": ""} == {**there, "file": ""}
    damaged = file.read_bytes().replace(b"PAR1", b"PAR2").replace(b"PAR2", b"PAR1", 1)
    file.write_bytes(damaged)
    cli("check", file, "gcd").refused(1, file.name, "build it again")
