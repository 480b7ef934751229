"""Each public report of tests/data/reports is foretold, in its class, on a kernel of its shape."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import yaml
from compat.report_kernel import PREFIX, REPORTS
from makers.bpf_objects import compiled

from kprobesim.compat.finding import Answer
from kprobesim.compat.run import compatibility
from kprobesim.sources.wanted import Interface

pytestmark = pytest.mark.compiler

ROWS: list[dict[str, Any]] = yaml.safe_load((REPORTS / "attach_reports.yaml").read_text())
_PRELUDE = "#define SEC(name) __attribute__((section(name), used))\n"


def _source(row: dict[str, Any], folder: Path, arch: str) -> Path:
    text = row["source"].replace("PREFIX", PREFIX[arch])
    kind = row.get("format") or ("bt" if "{" in text else "txt")
    if kind == "c":
        path = folder / "tool.bpf.o"
        path.write_bytes(compiled(_PRELUDE + text))
        return path
    path = folder / f"source.{kind}"
    path.write_text(text)
    return path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["report"])
def test_a_report_is_foretold(row: dict[str, Any], report_image: Path, tmp_path: Path) -> None:
    arch = report_image.name.removeprefix("vmlinux-")
    source = _source(row, tmp_path, arch)
    by = Interface(row.get("by", Interface.KPROBE_PERF.value))
    found = compatibility([source], [report_image], by=by)
    assert found.problems == ()
    assert found.exit_status() == 1
    worst = max(found.answers, key=_severity).worst
    assert str(worst.kind) == row["kind"], worst.message
    if "errno" in row:
        assert worst.errno == getattr(errno, row["errno"])
    said = "\n".join((worst.message, *worst.instead))
    assert row.get("says", "").replace("PREFIX", PREFIX[arch]) in said


def test_a_cast_to_what_holds_the_argument_is_meant(report_image: Path, tmp_path: Path) -> None:
    source = tmp_path / "tool.bt"
    source.write_text("kprobe:vfs_read { @[((struct backing_file *)arg0)->count] = count(); }")
    assert compatibility([source], [report_image]).exit_status() == 0


def _severity(answer: Answer) -> int:
    return answer.worst.kind.severity
