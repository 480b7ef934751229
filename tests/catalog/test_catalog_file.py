"""The file of a catalogue: what is not one, or not whole, is refused in one line."""

from __future__ import annotations

import builtins
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from kprobesim import CatalogError, KprobesimError, UsageError, extras
from kprobesim.catalog import file, schema
from kprobesim.catalog.file import is_catalog, open_catalog
from kprobesim.catalog.query import catalog_files, query
from kprobesim.catalog.writer import CatalogWriter

SECTIONS = {"one": b"first " * 100, "two": bytes(range(256)), "none": b""}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A catalogue of two functions and three sections."""
    path = tmp_path / "small.parquet"
    with CatalogWriter(path, "6.1.0", "x86_64") as writer:
        functions: dict[str, list[Any]] = {
            "name": ["vfs_read", "vfs_write"],
            "address": [(1 << 64) - 8, 8],
            "kind": ["ftrace", None],
            "lost_arguments": [[], [0, 2]],
        }
        writer.add("function", functions)
        writer.add("enumerator", {"name": ["A", "B"], "value": [(1 << 64) - 1, -(1 << 63)]})
        writer.add_sections(SECTIONS)
        writer.finish({"kernel": {"release": "6.1.0"}})
    return path


def test_what_is_written_is_read(small: Path) -> None:
    catalog = open_catalog(small)
    assert is_catalog(small) and catalog.facts["kernel"] == {"release": "6.1.0"}
    assert {name: bytes(catalog.section(name)) for name in catalog.sections} == SECTIONS
    assert catalog.facts["rows"] == {"function": 2, "enumerator": 2}
    rows = parquet.read_table(small).to_pylist()
    assert rows[0]["kernel"] == "6.1.0" and rows[0]["arch"] == "x86_64"
    assert [row["address"] for row in rows[:2]] == [(1 << 64) - 8, 8]
    assert rows[1]["lost_arguments"] == [0, 2] and rows[1]["kind"] is None
    assert [int(row["value"]) for row in rows[2:4]] == [(1 << 64) - 1, -(1 << 63)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{other}')",
        "SELECT count(*) FROM '{other}'",
        "SELECT * FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{folder}/new.csv'",
        "COPY (SELECT 1) TO '{small}' (FORMAT parquet, USE_TMP_FILE false)",
        "SELECT 1; COPY (SELECT 1) TO '{small}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{small}' (FORMAT parquet, USE_TMP_FILE false)",
        "COPY (PIVOT records ON record USING count(*)) TO '{small}' (USE_TMP_FILE false)",
        "ATTACH '{folder}/new.db'",
        "EXPORT DATABASE '{folder}/new'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ],
)
def test_sql_reads_catalogues_and_nothing_else(small: Path, sql: str) -> None:
    other = small.with_name("other.parquet")
    other.write_bytes(small.read_bytes())
    before = {path: path.read_bytes() for path in small.parent.iterdir()}
    with pytest.raises(UsageError, match=r"DuckDB says|only queries"):
        list(query(sql.format(small=small, other=other, folder=small.parent), [small]).rows)
    assert {path: path.read_bytes() for path in small.parent.iterdir()} == before


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE functions",
        "EXPLAIN SELECT 1",
        "WITH f AS (SELECT name FROM functions) SELECT * FROM f",
        "PIVOT (SELECT name, kernel FROM functions) ON kernel USING count(*)",
    ],
)
def test_what_only_reads_is_answered(small: Path, sql: str) -> None:
    assert list(query(sql, [small]).rows)


def test_it_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "small.parquet"
    with pytest.raises(ZeroDivisionError), CatalogWriter(path, "", "arm64") as writer:
        writer.add_sections(SECTIONS)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CatalogError, match="cannot be written"):
        CatalogWriter(tmp_path / "no" / "such", "", "arm64")


def test_damage_anywhere_is_told(small: Path, tmp_path: Path) -> None:
    whole, chance = small.read_bytes(), random.Random(1)
    path = tmp_path / "damaged.parquet"
    for cut in [4, 5, 12, *(chance.randrange(4, len(whole)) for _ in range(40))]:
        path.write_bytes(whole[:cut])
        with pytest.raises(CatalogError):
            open_catalog(path)
    for _ in range(150):
        at = chance.randrange(4, len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            catalog = open_catalog(path)
            found = {name: bytes(catalog.section(name)) for name in SECTIONS}
        except KprobesimError:
            continue
        assert found == SECTIONS and catalog.facts == open_catalog(small).facts


def test_all_of_it_can_be_verified(small: Path, tmp_path: Path) -> None:
    whole, chance = small.read_bytes(), random.Random(2)
    open_catalog(small).verify()
    rows = parquet.read_table(small)
    path = tmp_path / "damaged.parquet"
    told = 0
    for _ in range(150):
        changed = bytearray(whole)
        changed[chance.randrange(4, len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            open_catalog(path).verify()
        except CatalogError:
            told += 1
            continue
        assert parquet.read_table(path).equals(rows)  # what was changed means nothing
    assert told > 100


def test_a_section_that_was_changed_is_refused(small: Path) -> None:
    data = small.read_bytes()
    small.write_bytes(data.replace(b"first first", b"first fIrst", 1))
    with pytest.raises(CatalogError, match=r"is damaged.*'one'"):
        open_catalog(small).section("one")
    assert bytes(open_catalog(small).section("two")) == SECTIONS["two"]
    with pytest.raises(CatalogError, match="no section 'three'"):
        open_catalog(small).section("three")


def test_foreign_and_newer_files_are_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign.parquet"
    parquet.write_table(pa.table({"a": [1, 2]}), foreign)
    with pytest.raises(CatalogError, match="no catalogue of kprobesim"):
        open_catalog(foreign)
    monkeypatch.setattr(file, "FORMAT", schema.FORMAT - 1)
    with pytest.raises(CatalogError, match=f"has format {schema.FORMAT}, .*build it again"):
        open_catalog(small)
    (tmp_path / "text").write_text("hello")
    assert not is_catalog(tmp_path / "text") and not is_catalog(tmp_path)
    assert not is_catalog(tmp_path / "nothing")
    with pytest.raises(CatalogError):
        open_catalog(tmp_path / "nothing")


def test_facts_that_were_changed_are_refused(small: Path) -> None:
    data = small.read_bytes()
    assert json.dumps({"release": "6.1.0"}).encode() in data
    small.write_bytes(data.replace(b'{"release": "6.1.0"}', b'{"release": "6.1.1"}'))
    with pytest.raises(CatalogError, match="checksum of its facts"):
        open_catalog(small)


@pytest.mark.parametrize("missing", ["pyarrow", "duckdb"])
def test_without_the_extra_it_is_said_what_to_install(
    small: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_module(name: str) -> object:
        if name.partition(".")[0] == missing:
            raise ImportError(f"No module named {name!r}")
        return builtins.__import__(name)

    monkeypatch.setattr(extras, "import_module", import_module)
    with pytest.raises(UsageError, match=rf"needs {missing}.*pip install 'kprobesim\[catalog\]'"):
        query("SELECT 1", [small])


def test_a_query_sees_each_kind_of_record(small: Path) -> None:
    answer = query("SELECT name, kind FROM functions ORDER BY name", [small])
    assert answer.columns == ["name", "kind"]
    assert list(answer.rows) == [("vfs_read", "ftrace"), ("vfs_write", None)]
    (count,) = query("SELECT count(*) FROM enumerators WHERE value > 0", [small]).rows
    assert count == (1,)
    for wrong in ("SELECT", "SELECT nothing FROM functions", "SELECT CAST(name AS INT) FROM types"):
        if "CAST" not in wrong:
            with pytest.raises(UsageError, match="DuckDB says"):
                query(wrong, [small])
    with pytest.raises(UsageError, match="DuckDB says"):
        list(query("SELECT CAST(name AS INT) FROM functions", [small]).rows)


def test_files_and_folders_are_found(small: Path, tmp_path: Path) -> None:
    assert catalog_files([tmp_path, small]) == [small]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no catalogue is in it"):
        catalog_files([tmp_path / "empty"])
    with pytest.raises(UsageError, match="no such file"):
        catalog_files([tmp_path / "nothing"])
