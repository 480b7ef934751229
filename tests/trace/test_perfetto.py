"""Files for Perfetto, loaded by Perfetto's own trace processor through its Python client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from makers.perfetto_engine import TraceProcessor
from makers.trace_entries import ABOUT, ENTRIES, PROFILE

from kprobesim.trace.exports.export import open_export
from kprobesim.trace.exports.perfetto_file import PerfettoFile

_BAD = "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceProcessor]:
    pytest.importorskip("perfetto")
    export = open_export(tmp_path_factory.mktemp("trace") / "t.perfetto-trace", ABOUT)
    for entry in ENTRIES:
        export.add(entry)
    export.finish(PROFILE, 0)
    processor = TraceProcessor(Path(export.path).read_bytes())
    yield processor
    processor.close()


def test_it_is_imported_without_an_error(processor: TraceProcessor) -> None:
    assert processor.ask(_BAD) == []


def test_an_entry_and_its_return_are_one_slice(processor: TraceProcessor) -> None:
    rows = processor.ask("select ts, dur, name, category from slice order by ts, dur desc")
    assert rows[0] == {"ts": 1000, "dur": 1000, "name": "do_open", "category": "k"}
    assert [(row["ts"], row["dur"], row["name"]) for row in rows[1:]] == [
        (1000, 0, "read"),  # inside of it
        (1500, 0, "open"),
        (3000, 0, "open"),  # has no return
        (3500, 0, "read"),
    ]


def test_tasks_are_tracks(processor: TraceProcessor) -> None:
    asked = "select tid, thread.name as name, count(*) as many from slice "
    asked += "join thread_track on track_id = thread_track.id join thread using (utid) group by tid"
    assert processor.ask(asked) == [{"tid": 42, "name": 'cat "<&>', "many": 3}]
    assert processor.ask("select name from track where name is not null") == [
        {"name": "swapper/0-0"}
    ]


def test_cpus_are_tracks_of_who_ran() -> None:
    pytest.importorskip("perfetto")
    file = BytesIO()
    export = PerfettoFile(file, replace(ABOUT, cpus=2))
    for number, entry in enumerate(ENTRIES):
        export.add(replace(entry, cpu=int(number == 3)))
    export.finish(PROFILE, 0)
    processor = TraceProcessor(file.getvalue())
    asked = "select track.name as cpu, slice.name as task, ts, dur from slice "
    asked += "join track on track_id = track.id where track.name like 'CPU %' order by cpu, ts"
    assert [tuple(row.values()) for row in processor.ask(asked)] == [
        ("CPU 0", 'cat "<&>-42', 1000, 500),
        ("CPU 0", "swapper/0-0", 1500, 1500),
        ("CPU 0", 'cat "<&>-42', 3000, 500),
        ("CPU 0", "swapper/0-0", 3500, 0),
        ("CPU 1", 'cat "<&>-42', 2000, 1500),
    ]
    assert processor.ask(_BAD) == []
    processor.close()


def test_fields_are_arguments(processor: TraceProcessor) -> None:
    asked = "select key, display_value as shown from slice join args using (arg_set_id) "
    rows = processor.ask(asked + "where dur = 1000")
    found = {row["key"].removeprefix("debug."): row["shown"] for row in rows}
    assert found["name"] == "/etc/<passwd>;é"
    assert found["n"] == "0xffffffffffffffff"
    assert found["ret"] == "-2"
    assert found["returns to"] == "sys_read+0x20/0x100"
    assert found["stack[1]"] == "get_page (inlined) at include/mm.h:7"
