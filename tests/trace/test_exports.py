"""The files that a trace is written to, read again by those who read such files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from makers.trace_entries import ABOUT, ENTRIES, PROFILE

from kprobesim import UsageError
from kprobesim.trace.exports.export import check_export, needs_stacks, open_export

_SCHEMA = Path(__file__).parents[2] / "docs" / "trace.schema.json"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        export = open_export(tmp_path / name, ABOUT)
        for entry in ENTRIES:
            export.add(entry)
        export.finish(PROFILE, 4)
        return export.path

    return write


def test_json_has_everything_and_is_as_its_schema_says(write: Callable[[str], Path]) -> None:
    document = json.loads(write("t.json").read_text())
    jsonschema.validate(document, json.loads(_SCHEMA.read_text()))
    assert document["kernel"] == {"release": "6.1.0-made", "arch": "x86_64"}
    assert [row["time"] for row in document["entries"]] == [entry.time for entry in ENTRIES]
    first, second = document["entries"][:2]
    assert first["fields"] == {"name": "/etc/<passwd>;é", "n": (1 << 64) - 1}
    assert second["fields"] == {"n": -5, "pair": [1, 65535]}
    assert [frame["function"] for frame in second["stack"]] == [
        *("do_read", "get_page", "do_read", "sys_read", "entry"),
    ]
    assert second["stack"][1]["inlined"]
    assert (second["stack"][1]["file"], second["stack"][1]["line"]) == ("include/mm.h", 7)
    assert document["profile"][1] == {"event": "k/read", "hits": 2, "misses": 1}
    assert document["lost"] == 4


def test_json_without_entries_is_whole(tmp_path: Path) -> None:
    export = open_export(tmp_path / "t.json", ABOUT)
    export.finish([], 0)
    assert json.loads(export.path.read_text())["entries"] == []


def test_csv_has_a_column_for_each_name_and_type(write: Callable[[str], Path]) -> None:
    with write("t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows[:3]] == ["/etc/<passwd>;é", "", ""]
    assert rows[0]["open.n"] == str((1 << 64) - 1)
    assert rows[0]["read.n"] == ""
    assert (rows[1]["read.n"], rows[1]["pair"]) == ("-5", "{1,65535}")
    assert rows[1]["stack"] == "entry;sys_read;do_read;get_page;do_read"
    assert rows[3]["place"] == "sys_read+0x20/0x100"


def test_parquet_keeps_sizes_and_signs(write: Callable[[str], Path]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(write("t.parquet"))
    assert str(table.schema.field("open.n").type) == "uint64"
    assert str(table.schema.field("read.n").type) == "int32"
    assert table.column("open.n").to_pylist()[0] == (1 << 64) - 1
    assert table.column("pair").to_pylist()[1] == [1, 65535]
    assert table.column("name").to_pylist()[2] is None
    assert table.schema.metadata[b"kprobesim.release"] == b"6.1.0-made"


def test_folded_stacks_are_counted_and_sorted(write: Callable[[str], Path]) -> None:
    lines = write("t.folded").read_text().splitlines()
    assert lines == sorted(lines)
    # An entry and a return are the same stack: both show the function as the innermost.
    callers = "entry;sys_read;do_read;get_page_[i]"
    assert f'cat "<&>;{callers};do_open 3' in lines
    assert f"swapper/0;{callers};do_read 1" in lines
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == len(ENTRIES)


def test_only_flames_and_folded_stacks_need_stacks() -> None:
    assert [name for name in ("a.svg", "a.folded", "a.json", "a.csv") if needs_stacks(name)] == [
        "a.svg",
        "a.folded",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [("t.txt", "the end of its name says"), ("no/such/t.json", "a folder that exists")],
)
def test_what_cannot_be_written_is_told_first(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_export(tmp_path / name)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kprobesim.trace.exports.export.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'kprobesim\[trace\]'"):
        check_export("t.parquet")


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet", ".svg"])
def test_a_file_is_whole_or_not_there(tmp_path: Path, suffix: str) -> None:
    full, cut = tmp_path / f"full{suffix}", tmp_path / f"cut{suffix}"
    full.symlink_to("/dev/full")
    with (
        pytest.raises(UsageError, match=rf"full{suffix} cannot be written: No space left"),
        open_export(full, ABOUT) as export,
    ):
        for entry in ENTRIES * 500:
            export.add(entry)
        export.finish(PROFILE, 0)
    assert full.is_symlink()  # only what was begun here goes away again
    with pytest.raises(KeyboardInterrupt), open_export(cut, ABOUT) as export:
        export.add(ENTRIES[0])
        raise KeyboardInterrupt
    assert not cut.exists()
    with pytest.raises(KeyboardInterrupt), open_export(cut, ABOUT) as export:
        export.finish(PROFILE, 0)
        raise KeyboardInterrupt
    assert cut.exists()
