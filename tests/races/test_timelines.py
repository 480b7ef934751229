"""A failing run as a file for Perfetto, read back by Perfetto's own trace processor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from makers.perfetto_engine import TraceProcessor

from kprobesim import CalledKernel, UsageError, call

_BAD = "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"
FORK = call("do_fork", 0, 0)


def test_a_run_is_a_track_a_cpu(guest: CalledKernel, tmp_path: Path) -> None:
    failure = guest.race(a=FORK, b=FORK).failure
    assert failure is not None
    failure.save(tmp_path / "race.perfetto-trace")
    processor = TraceProcessor((tmp_path / "race.perfetto-trace").read_bytes())
    try:
        assert processor.ask(_BAD) == []
        asked = "select distinct track.name as name from slice join track on track_id = track.id"
        names = {str(row["name"]) for row in processor.ask(asked)}
        assert names == {"CPU 0: a", "CPU 1: b"}
        rows = processor.ask("select name, ts, dur from slice order by ts")
        named = {str(row["name"]) for row in rows}
        assert {"kernel_clone", "memcpy", "list_add", "switch to here"} <= named
        assert sum(str(row["name"]).endswith(" bytes") for row in rows) == 2
        assert all(int(str(row["dur"])) >= 0 for row in rows)
    finally:
        processor.close()


def test_what_cannot_be_saved_is_refused(guest: CalledKernel, tmp_path: Path) -> None:
    failure = guest.race(a=FORK, b=FORK).failure
    assert failure is not None
    with pytest.raises(UsageError, match="perfetto-trace"):
        failure.save(tmp_path / "race.json")
    with pytest.raises(UsageError, match="cannot be written"):
        failure.save(tmp_path / "nowhere" / "race.perfetto-trace")
    with pytest.raises(UsageError, match="report=False"):
        replace(failure, timeline=None).save(tmp_path / "race.perfetto-trace")
